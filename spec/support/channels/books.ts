import { listen, WebsocketServer, type WebsocketConnection } from 'simplewebsockets'
import type { Channel, ChannelClient } from 'simplewebsockets/channels'
import { link } from 'simplewebsockets/testing'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** A server written from the books: it says what it is told to, and keeps what it hears. */
export class Books {
  readonly heard: unknown[][] = []
  readonly server = new WebsocketServer()
  connection: WebsocketConnection | undefined

  constructor() {
    listen(this.server, 'client', (connection) => {
      this.connection = connection
      listen(connection, 'message', (message) => {
        this.heard.push(JSON.parse(String(message)) as unknown[])
      })
    })
  }

  static async meet(client: ChannelClient): Promise<Books> {
    const books = new Books()
    await link(books.server, client, 'ws://localhost/socket')
    return books
  }

  /** A channel of a topic that the server lets in, as its first membership. */
  async joined(client: ChannelClient, topic = 'room:1'): Promise<Channel> {
    const room = client.channel(topic)
    const joining = room.join()
    const [[ref] = []] = await this.take()
    await this.reply(ref, topic)
    await joining
    return room
  }

  /** Resolves with what came since the last call. */
  async take(): Promise<unknown[][]> {
    await turn()
    return this.heard.splice(0)
  }

  async say(...frames: unknown[]): Promise<void> {
    for (const frame of frames) {
      const isData = typeof frame === 'string' || frame instanceof Uint8Array
      this.connection?.send(isData ? frame : JSON.stringify(frame))
    }
    await turn()
  }

  reply(ref: unknown, topic: string, response: unknown = {}, status = 'ok'): Promise<void> {
    return this.say([ref, ref, topic, 'phx_reply', { status, response }])
  }
}
