// Says hello ten times to echo-server.ts, and prints what comes back.
// Run: node --conditions=source --import tsx samples/echo-client.ts
import { listen, WebsocketClient } from 'simplewebsockets'

const client = new WebsocketClient()

listen(client, 'connect', (connection) => {
  listen(connection, 'message', (message) => console.log(message))
  listen(connection, 'close', ({ code, description }) =>
    console.log(`closed: ${code} ${description}`),
  )

  for (let count = 1; count <= 10; count++) connection.send(`hello ${count}`)
  connection.close() // what the server says before it answers this still arrives
})

listen(client, 'connectError', (error) => error.log())

void client.open(`ws://localhost:${process.env.PORT ?? 8080}`) // connectError hears if it can't
