// A bot as two loops: the outer one has its connections, the inner one the messages of each.
// Run: node --conditions=source --import tsx samples/bot.ts
import { listen, WebsocketClient } from 'simplewebsockets'

const client = new WebsocketClient()

listen(client, 'connectError', (error) => error.log())
void client.open(`ws://localhost:${process.env.PORT ?? 8080}/feed`)

for await (const connection of listen(client, 'connect')) {
  connection.send('subscribe:prices')
  for await (const message of listen(connection, 'message')) {
    if (message === 'time?') connection.send(new Date().toISOString())
    else console.log(`heard ${message}`)
  }
  console.log('the connection has ended') // and with the last one, the outer loop
}
