// The whiteboard of samples/whiteboard, written with ws and zod, to compare the two.
// Left out, though ours has them: pings, a limit for peers that don't read, the check of origins.
import type { Server } from 'node:http'
import { WebSocket, WebSocketServer } from 'ws'
import type { z } from 'zod'
import { ClientMessage, ServerMessage, type Point } from '../../samples/whiteboard/messages.ts'

/** Returns a message of the peer, or undefined for one that doesn't fit. */
function parse<Message>(schema: z.ZodType<Message>, data: Buffer): Message | undefined {
  try {
    return schema.parse(JSON.parse(data.toString()))
  } catch {
    return undefined
  }
}

// The server

interface Room {
  readonly members: Set<WebSocket>
  readonly strokes: Point[][]
}

const MAX_STROKES = 500
const names = new Map([
  ['a1', 'ann'],
  ['b2', 'bob'],
  ['e3', 'eve'],
])

export function serve(http: Server): void {
  const rooms = new Map<string, Room>()
  const server = new WebSocketServer({ noServer: true, maxPayload: 1024 * 1024 })
  http.on('upgrade', (request, socket, head) => {
    socket.on('error', () => socket.destroy())
    const [path = '', query] = (request.url ?? '').split('?')
    const [, id] = /^\/board\/([^/]+)$/.exec(path) ?? []
    const name = names.get(new URLSearchParams(query).get('token') ?? '')
    if (id === undefined) {
      socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n')
    } else if (name === undefined) {
      socket.end('HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n\r\n')
    } else {
      server.handleUpgrade(request, socket, head, (client) => enter(client, rooms, id, name))
    }
  })
}

function enter(client: WebSocket, rooms: Map<string, Room>, id: string, name: string): void {
  const room: Room = rooms.get(id) ?? { members: new Set(), strokes: [] }
  const { members, strokes } = room
  rooms.set(id, room)
  const tellOthers = (message: ServerMessage): void => {
    const text = JSON.stringify(message)
    for (const member of members) if (member !== client) member.send(text)
  }

  client.send(JSON.stringify({ type: 'strokes', strokes } satisfies ServerMessage))
  members.add(client)
  tellOthers({ type: 'joined', name })

  client.on('error', () => {}) // `close` follows
  client.on('message', (data: Buffer) => {
    const message = parse(ClientMessage, data)
    if (!message) {
      client.close(1008, 'invalid message')
      return
    }
    if (message.type === 'stroke' && strokes.push(message.points) > MAX_STROKES) strokes.shift()
    if (message.type === 'clear') strokes.length = 0
    tellOthers({ ...message, name })
  })
  client.on('close', () => {
    members.delete(client)
    tellOthers({ type: 'left', name })
    if (members.size === 0) rooms.delete(id)
  })
}

// The client

export interface Board {
  draw(points: Point[]): void
  moveCursor(at: Point): void
  clear(): void
  leave(): void
}

const CURSOR_INTERVAL = 50 // ms

export function joinBoard(
  url: string,
  onMessage: (message: ServerMessage) => unknown,
): Promise<Board> {
  let socket: WebSocket
  let isLeaving = false
  let attempt = 0
  let retryTimer: NodeJS.Timeout | undefined

  const send = (message: ClientMessage): void => {
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message))
  }
  let cursor: Point
  let cursorTimer: NodeJS.Timeout | undefined
  const board: Board = {
    draw: (points) => send({ type: 'stroke', points }),
    moveCursor: (at) => {
      cursor = at
      cursorTimer ??= setTimeout(() => {
        cursorTimer = undefined
        send({ type: 'cursor', at: cursor })
      }, CURSOR_INTERVAL)
    },
    clear: () => send({ type: 'clear' }),
    leave: () => {
      isLeaving = true
      clearTimeout(retryTimer)
      socket.close(1000)
    },
  }

  return new Promise((resolve, reject) => {
    const connect = (): void => {
      socket = new WebSocket(url)
      socket.on('open', () => {
        attempt = 0
        resolve(board)
      })
      socket.on('message', (data: Buffer) => {
        const message = parse(ServerMessage, data)
        if (message) onMessage(message)
        else socket.close(1008, 'invalid message')
      })
      socket.on('unexpected-response', (_request, { statusCode = 0 }) => {
        if (statusCode < 500) {
          isLeaving = true // a refusal is final
          reject(new Error(`the server answered ${statusCode}`))
        }
        socket.terminate()
      })
      socket.on('error', () => {}) // `close` follows
      socket.on('close', (code) => {
        if (isLeaving || code === 1000 || code === 1008) return
        retryTimer = setTimeout(connect, Math.random() * Math.min(30_000, 1000 * 2 ** attempt++))
      })
    }
    connect()
  })
}
