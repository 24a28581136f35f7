// A bot that hears prices, and buys below a limit: it awaits the reply to its order inside the loop,
// and the prices that come meanwhile wait for it.
// Run: node --conditions=source --import tsx samples/trading-bot.ts (needs a server: see the spec)
import { listen, once, WebsocketClient, type Data } from 'simplewebsockets'

interface Price {
  readonly symbol: string
  readonly price: number
}

const { PORT = '8080', LIMIT = '100' } = process.env
const client = new WebsocketClient({ reconnect: true })
void client.open(`ws://localhost:${PORT}/market`)
process.on('SIGTERM', () => void client.close())

let lastOrder = 0

for await (const connection of listen(client, 'connect')) {
  connection.send(JSON.stringify({ subscribe: 'prices' }))
  for await (const message of listen(connection, 'message')) {
    const { symbol, price } = JSON.parse(String(message)) as Partial<Price>
    if (price === undefined || price >= Number(LIMIT)) continue
    const order = ++lastOrder
    const isReply = (other: Data): boolean => String(other).includes(`"order":${order},`)
    const reply = once(connection, 'message', { where: isReply })
    connection.send(JSON.stringify({ order, buy: symbol }))
    console.log(`ordered ${symbol} at ${price}: ${String(await reply)}`)
  }
}
