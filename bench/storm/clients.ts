// Clients that join a topic each, half of them ours and half phoenix.js. Run by storm.ts.
import { Socket } from 'phoenix'
import { listen } from '../../lib/index.ts'
import { ChannelClient } from '../../lib/channels/index.ts'
import { WebSocket } from 'ws'

/** How many clients are members of their topic now. */
export interface Members {
  readonly ours: number
  readonly phoenix: number
}

const [, , port, count] = process.argv
const url = `ws://localhost:${port}/socket`
const TIMEOUT = 60_000 // ms; an answer that waits in the crowd isn't lost

const ours = [...Array(Number(count) / 2).keys()].map((index) => {
  const client = new ChannelClient({ timeout: TIMEOUT })
  const channel = client.channel(`room:${index % 20}`)
  listen(client, 'error', () => {}) // it goes on trying
  listen(channel, 'error', () => {})
  void client.open(url)
  void channel.join()
  return channel
})

const theirs = [...Array(Number(count) / 2).keys()].map((index) => {
  const socket = new Socket(url, { transport: WebSocket, timeout: TIMEOUT })
  const channel = socket.channel(`room:${index % 20}`)
  socket.onError(() => {})
  socket.connect()
  channel.join()
  return channel
})

const joined = (channels: readonly { readonly state: string }[]): number =>
  channels.filter(({ state }) => state === 'joined').length

process.on('message', () => {
  process.send?.({ ours: joined(ours), phoenix: joined(theirs) } satisfies Members)
})
