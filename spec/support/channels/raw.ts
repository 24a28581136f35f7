import { once, listen, WebsocketClient, type WebsocketServer } from 'simplewebsockets'
import type { CloseReason, WebsocketConnection } from 'simplewebsockets'
import { link } from 'simplewebsockets/testing'

export const PHOENIX = 'ws://localhost/socket/websocket?vsn=2.0.0'
export const PHOENIX_1 = 'ws://localhost/socket/websocket'
export const AMBER = 'ws://localhost/socket'

/** A client that speaks frames as they stand in the books, and knows nothing of channels. */
export class Raw<Context extends {} = {}> {
  /** The server's end. */
  readonly there: WebsocketConnection<Context>
  readonly here: WebsocketConnection
  readonly #heard: unknown[] = []

  private constructor(there: WebsocketConnection<Context>, here: WebsocketConnection) {
    this.there = there
    this.here = here
    listen(here, 'message', (message) => {
      this.#heard.push(parsed(message))
    })
  }

  static async enter<Context extends {}>(
    server: WebsocketServer<Context>,
    url: string = PHOENIX,
  ): Promise<Raw<Context>> {
    const [there, here] = await link(server, new WebsocketClient({ keepaliveTimeout: false }), url)
    return new Raw(there, here)
  }

  /** Sends frames: text as it is, anything else as JSON. */
  say(...frames: unknown[]): this {
    for (const frame of frames) {
      const isData = typeof frame === 'string' || frame instanceof Uint8Array
      this.here.send(isData ? frame : JSON.stringify(frame))
    }
    return this
  }

  /** Resolves with what came since the last call: all that the server said before this. */
  async heard(): Promise<unknown[]> {
    await this.here.ping()
    await this.here.ping() // what a listener says a microtask later comes behind the first pong
    return this.#heard.splice(0)
  }

  /** Sends frames, and gives what comes of them at once. */
  ask(...frames: unknown[]): Promise<unknown[]> {
    return this.say(...frames).heard()
  }

  /** Joins a topic, and forgets the answer. */
  async join(topic: string, ref = '1', payload: unknown = {}): Promise<this> {
    await this.ask([ref, ref, topic, 'phx_join', payload])
    return this
  }

  /** Resolves with the reason that its connection closes with. */
  closed(): Promise<CloseReason> {
    return once(this.here, 'close')
  }
}

function parsed(message: string | Uint8Array): unknown {
  if (typeof message !== 'string') return Buffer.from(message).toString('hex')
  return message === 'ping' ? message : (JSON.parse(message) as unknown)
}

/** Returns a reply of Phoenix's. */
export function reply(
  [joinRef, ref]: readonly [string | null, string | null],
  topic: string,
  status: string,
  response: unknown = {},
): unknown[] {
  return [joinRef, ref, topic, 'phx_reply', { status, response }]
}
