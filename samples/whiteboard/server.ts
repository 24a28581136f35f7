// A whiteboard: a room for each path, with checked messages. The client is client.ts.
// Run: node --conditions=source --import tsx samples/whiteboard/server.ts
import { json, listen, WebsocketServer } from 'simplewebsockets'
import { ClientMessage, ServerMessage, type Point } from './messages.ts'

const MAX_STROKES = 500 // that a board keeps for those who join later
const strokesOf = new Map<string, Point[][]>() // of the boards that have members

/** Stands for your sessions. */
const names = new Map([
  ['a1', 'ann'],
  ['b2', 'bob'],
  ['e3', 'eve'],
])

const server = new WebsocketServer({
  path: '/board/:id',
  authorize: (request) => {
    const name = names.get(request.token({ query: true }) ?? '')
    return name !== undefined && { name } // false is answered with 401, the rest is the context
  },
  messages: json({ in: ClientMessage, out: ServerMessage }),
})

listen(server, 'client', (client) => {
  const { id } = client.request.params
  const { name } = client.context
  const strokes = strokesOf.get(id) ?? []
  strokesOf.set(id, strokes)

  client.send({ type: 'strokes', strokes })
  const board = server.room(id).add(client)
  board.emit({ type: 'joined', name }, { except: client })

  listen(client, 'message', (message) => {
    if (message.type === 'stroke' && strokes.push(message.points) > MAX_STROKES) strokes.shift()
    if (message.type === 'clear') strokes.length = 0
    board.emit({ ...message, name }, { except: client })
  })
  listen(client, 'close', () => {
    board.emit({ type: 'left', name })
    if (board.size === 0) strokesOf.delete(id)
  })
})

const { port } = await server.serve(Number(process.env.PORT ?? 8080))
console.log(`listening on ws://localhost:${port}`)
