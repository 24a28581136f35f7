// The whiteboard of samples/whiteboard, written with socket.io and zod, to compare the two.
// Different from ours: a refusal and a closing carry no status and no code, and what is drawn
// without a connection is sent later.
import type { Server as HttpServer } from 'node:http'
import { Server, type DefaultEventsMap } from 'socket.io'
import { io, type Socket } from 'socket.io-client'
import { z } from 'zod'
import { Point, Points } from '../../samples/whiteboard/messages.ts'

interface ClientEvents {
  stroke(points: Point[]): void
  cursor(at: Point): void
  clear(): void
}

interface ServerEvents {
  strokes(strokes: Point[][]): void
  joined(name: string): void
  left(name: string): void
  stroke(name: string, points: Point[]): void
  cursor(name: string, at: Point): void
  clear(name: string): void
}

// The server

interface SocketData {
  name: string
}

const ClientEvent = z.union([
  z.tuple([z.literal('stroke'), Points]),
  z.tuple([z.literal('cursor'), Point]),
  z.tuple([z.literal('clear')]),
])

const MAX_STROKES = 500
const names = new Map([
  ['a1', 'ann'],
  ['b2', 'bob'],
  ['e3', 'eve'],
])

export function serve(http: HttpServer): void {
  const server = new Server<ClientEvents, ServerEvents, DefaultEventsMap, SocketData>(http, {
    cleanupEmptyChildNamespaces: true,
  })
  const strokesOf = new Map<string, Point[][]>()
  const boards = server.of(/^\/board\/[^/]+$/)
  boards.use((socket, next) => {
    const name = names.get(String(socket.handshake.auth.token))
    if (name === undefined) {
      next(new Error('unauthorized'))
      return
    }
    socket.data.name = name
    next()
  })
  boards.on('connection', (socket) => {
    const { data, nsp } = socket
    const { name } = data
    const strokes = strokesOf.get(nsp.name) ?? []
    strokesOf.set(nsp.name, strokes)

    socket.emit('strokes', strokes)
    socket.broadcast.emit('joined', name)

    socket.use((event, next) => {
      const { data: checked } = ClientEvent.safeParse(event)
      if (!checked) {
        socket.disconnect(true)
        return
      }
      Object.assign(event, checked) // without what the schema doesn't name
      next()
    })
    socket.on('stroke', (points) => {
      if (strokes.push(points) > MAX_STROKES) strokes.shift()
      socket.broadcast.emit('stroke', name, points)
    })
    socket.on('cursor', (at) => socket.volatile.broadcast.emit('cursor', name, at))
    socket.on('clear', () => {
      strokes.length = 0
      socket.broadcast.emit('clear', name)
    })
    socket.on('disconnect', () => {
      socket.broadcast.emit('left', name)
      if (nsp.sockets.size === 0) strokesOf.delete(nsp.name)
    })
  })
}

// The client: listen to its socket, and emit `stroke` and `clear` on it

export interface Board {
  readonly socket: Socket<ServerEvents, ClientEvents>
  moveCursor(at: Point): void
}

const CURSOR_INTERVAL = 50 // ms

export function joinBoard(url: string, token: string): Board {
  const socket: Socket<ServerEvents, ClientEvents> = io(url, { auth: { token } })
  let cursor: Point
  let timer: NodeJS.Timeout | undefined
  return {
    socket,
    moveCursor: (at) => {
      cursor = at
      timer ??= setTimeout(() => {
        timer = undefined
        socket.volatile.emit('cursor', cursor)
      }, CURSOR_INTERVAL)
    },
  }
}
