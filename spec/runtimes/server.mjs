// Serves what client.mjs tries, in whatever runs it, and prints its port.
import { listen, WebsocketServer } from 'simplewebsockets'

const server = new WebsocketServer({
  path: '/:way',
  protocols: ['v1'],
  compression: { threshold: 0 },
  maxReceivedMessageSize: 4 << 20,
  keepaliveTimeout: 200,
  authorize: ({ params }) => params.way !== 'refused' && { way: params.way },
})

listen(server, 'client', (client) => {
  const room = server.room('all').add(client)
  listen(client, 'ping', (payload) => client.send(`pinged ${payload}`))
  listen(client, 'message', async (message) => {
    const [verb, ...words] = typeof message === 'string' ? message.split(' ') : ['echo']
    if (verb === 'close') client.close(4000, 'as you wish')
    else if (verb === 'emit') room.emit(words.join(' '))
    else if (verb === 'broadcast') client.broadcast(words.join(' '))
    else if (verb === 'ping') client.send(typeof (await client.ping('from the server')))
    else if (verb === 'header') client.send(client.request.headers[words[0]] ?? 'none')
    else client.send(message)
  })
})

const { port } = await server.serve(0, '127.0.0.1')
console.log(port)
