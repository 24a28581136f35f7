// Rooms that clients join, leave and speak in: `join red`, `say red hello`, `leave red`.
// Run: node --conditions=source --import tsx samples/rooms.ts
import { listen, WebsocketServer } from 'simplewebsockets'

const server = new WebsocketServer()

listen(server, 'client', (client) => {
  const names = new Set<string>() // of its rooms: peers choose them, so they are counted
  listen(client, 'message', (message) => {
    const [verb, name = '', ...words] = String(message).split(' ')
    const room = server.room(name) // the same name is the same room; an unused one costs nothing

    if (verb === 'join' && names.size === 50) {
      client.send('leave another room first')
    } else if (verb === 'join') {
      names.add(name)
      room.add(client).emit(`${room.size} in ${name}`)
    } else if (!room.has(client)) {
      client.send(`you are not in ${name}`)
    } else if (verb === 'leave') {
      names.delete(name)
      room.delete(client)
      room.emit(`${room.size} in ${name}`)
    } else if (verb === 'say') {
      room.emit(words.join(' '), { except: client })
    }
  })
})

const { port } = await server.serve(Number(process.env.PORT ?? 8080))
console.log(`listening on ws://localhost:${port}`)
