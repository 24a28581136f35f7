// A server of channels that the storm restarts. Run by storm.ts, with the port.
import { listen, WebsocketServer } from '../../lib/index.ts'
import { ChannelServer } from '../../lib/channels/index.ts'

/** The times at which a server met its clients, in milliseconds since the epoch. */
export interface Met {
  readonly entered: readonly number[]
  readonly refused: readonly number[]
}

/** An order to a server: to close, or to report when it met its clients. */
export type Order = { readonly within: number } | 'report'

const entered: number[] = []
const refused: number[] = []
const report = (): void => void process.send?.({ entered, refused } satisfies Met)

const server = new WebsocketServer({ path: '/socket' })
new ChannelServer(server).topic('room:*', { open: true })
listen(server, 'client', () => void entered.push(Date.now()))
listen(server, 'peerError', () => void refused.push(Date.now()))

/** Closes, and leaves it to Node to end when nothing is left to do. */
async function close(within: number): Promise<void> {
  await server.close({ within, code: 1012 })
  report()
  process.disconnect()
}

process.on('message', (order: Order) => {
  if (order === 'report') report()
  else void close(order.within)
})

await server.serve(Number(process.argv[2]))
report()
