// Sends ten messages to echo-server.ts, and prints its replies.
// Run: node --conditions=source --import tsx samples/echo-client.ts
import { listen, WebsocketClient } from 'simplewebsockets'

const client = new WebsocketClient()

listen(client, 'connect', (connection) => {
  listen(connection, 'message', (message) => console.log(message))
  for (let count = 1; count <= 10; count++) connection.send(`hello ${count}`)
  connection.close() // replies that are on their way still arrive
})

await client.open(`ws://localhost:${process.env.PORT ?? 8080}`)
