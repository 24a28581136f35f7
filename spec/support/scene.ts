import assert from 'node:assert/strict'
import { after } from 'node:test'
import {
  FrameError,
  listen,
  once,
  WebsocketClient,
  WebsocketServer,
  type ServerOptions,
  type WebsocketConnection,
} from 'simplewebsockets'
import { inUse } from './heap.ts'
import { RawPeer, type Shake } from './rawpeer.ts'

export const MIB = 1024 * 1024

/** Events that must never come, whatever a peer does. */
export const alarms: string[] = []
const alarm = (what: unknown): void => void alarms.push(String(what))
const ALARMS = ['uncaughtException', 'unhandledRejection', 'warning']
for (const event of ALARMS) process.on(event, alarm)
after(() => {
  for (const event of ALARMS) process.off(event, alarm)
})

/** Lets what is ready in this turn of the event loop happen. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Returns how many sockets, pipes and inflaters there are. */
export const handles = (): number =>
  process.getActiveResourcesInfo().filter((kind) => /^(TCP|TLS|Pipe|Zlib)/.test(kind)).length

const ROOM = 16 * MIB // what code, and what was learned of it, may take
const PATIENCE = 15_000 // milliseconds for the kernel, and for zlib, to be done
let usual: number | undefined

/** Checks that as many handles are there as before, and as much memory as after the first scene. */
export async function restored(before: number): Promise<void> {
  const until = Date.now() + PATIENCE
  while (handles() > before && Date.now() < until) await turn()
  assert.ok(handles() <= before, `left: ${process.getActiveResourcesInfo().join()}`)
  let now = inUse()
  usual ??= now
  while (now - usual > ROOM && Date.now() < until) {
    await turn()
    now = inUse()
  }
  assert.ok(now - usual <= ROOM, `grew by ${Math.round((now - usual) / MIB)} MiB`)
}

/** A server that echoes, two honest clients on it, and what it told of the others. */
export class Scene implements AsyncDisposable {
  readonly server: WebsocketServer
  readonly refused: number[] = []
  readonly neighbours: WebsocketConnection[] = []
  readonly #strangers: RawPeer[] = []
  readonly #handles = handles()
  port = 0
  /** Where it listens, for who can't wait until a name is looked up. */
  host = ''

  private constructor(options: ServerOptions) {
    this.server = new WebsocketServer({ closeTimeout: 200, ...options })
    listen(this.server, 'peerError', ({ status }) => void this.refused.push(status))
    listen(this.server, 'client', (client) => {
      if (client.request.url === '/stranger') return
      listen(client, 'message', (message) => void client.send(message))
    })
  }

  static async set(options: ServerOptions = {}): Promise<Scene> {
    const scene = new Scene(options)
    const { port, address } = await scene.server.serve(0)
    scene.port = port
    scene.host = address
    for (let count = 0; count < 2; count++) {
      scene.neighbours.push(await new WebsocketClient().open(`ws://localhost:${port}`))
    }
    return scene
  }

  /** Lets in a stranger that only the caller listens to. */
  async stranger(
    shake: Shake = {},
  ): Promise<{ peer: RawPeer; there: WebsocketConnection; errors: number[] }> {
    const entered = once(this.server, 'client')
    const peer = await RawPeer.enter(this.port, { target: '/stranger', ...shake })
    this.#strangers.push(peer)
    const there = await entered
    const errors: number[] = []
    listen(there, 'error', (error) => {
      errors.push(error instanceof FrameError ? error.closeCode : 0)
    })
    return { peer, there, errors }
  }

  /** Checks that no other peer has felt anything. */
  async calm(): Promise<void> {
    await this.calmBut(0)
  }

  /** Checks so while some strangers are still there. */
  async calmBut(strangers: number): Promise<void> {
    for (const [index, neighbour] of this.neighbours.entries()) {
      const echo = once(neighbour, 'message')
      neighbour.send(`still here ${index}`)
      assert.equal(await echo, `still here ${index}`)
    }
    await turn() // an unhandled rejection would be told now
    assert.deepEqual(alarms, [])
    assert.equal(this.server.clients.size, this.neighbours.length + strangers)
  }

  /** Closes the server, and checks that nothing is left of it. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const { tcp } of this.#strangers) tcp.destroy() // where a test failed before
    await this.server.close()
    await restored(this.#handles)
  }
}
