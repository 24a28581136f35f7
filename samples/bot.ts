// A bot that never gives up: the outer loop is reconnection, the inner one has a connection's messages.
// Run: node --conditions=source --import tsx samples/bot.ts (and stop and start its server meanwhile)
import { listen, WebsocketClient } from 'simplewebsockets'

const { PORT = '8080', DELAY } = process.env // DELAY=50 for who can't wait

const client = new WebsocketClient({
  reconnect: DELAY === undefined || { delay: () => Number(DELAY) },
})

listen(client, 'connectError', ({ msg }) => console.log(msg))
listen(client, 'retry', ({ attempt, delay }) => console.log(`attempt ${attempt} in ${delay} ms`))
void client.open(`ws://localhost:${PORT}/feed`)

for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => void client.close())

for await (const connection of listen(client, 'connect')) {
  connection.send('subscribe:prices')
  for await (const message of listen(connection, 'message')) {
    if (message === 'time?') connection.send(new Date().toISOString())
    else console.log(`heard ${message}`)
  }
}
console.log('the bot was stopped, or told to go')
