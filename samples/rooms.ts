// Rooms that clients join, leave and speak in: `join red`, `say red hello`, `leave red`.
// Run: node --conditions=source --import tsx samples/rooms.ts
import { listen, WebsocketServer } from 'simplewebsockets'

const server = new WebsocketServer()

listen(server, 'client', (client) => {
  listen(client, 'message', (message) => {
    const [verb, name = '', ...words] = String(message).split(' ')
    const room = server.room(name) // the same name is the same room; an unused one costs nothing

    if (verb === 'join') {
      room.add(client).emit(`${room.size} in ${name}`)
    } else if (!room.has(client)) {
      client.send(`you are not in ${name}`)
    } else if (verb === 'leave') {
      room.delete(client)
      room.emit(`${room.size} in ${name}`)
    } else if (verb === 'say') {
      room.emit(words.join(' '), { except: client })
    }
  })
})

const { port } = await server.serve(Number(process.env.PORT ?? 8080))
console.log(`listening on ws://localhost:${port}`)
