// A client of server.ts, for Node and for pages. It calls back for what the others do:
//   const board = await joinBoard('ws://localhost:8080/board/1?token=a1', console.log)
//   board.draw([{ x: 0, y: 0 }, { x: 10, y: 10 }])
import { json, listen, WebsocketClient } from 'simplewebsockets'
import { ClientMessage, ServerMessage, type Point } from './messages.ts'

/** A board that the client has joined. What is drawn while it has no connection isn't sent. */
export interface Board {
  draw(points: Point[]): void
  moveCursor(at: Point): void
  clear(): void
  leave(): Promise<void>
}

const CURSOR_INTERVAL = 50 // ms: the others get at most 20 cursors a second

/**
 * Joins a board, and joins it again when the connection is lost: then `strokes` has the board as it
 * is now. Rejects with a `ConnectError` when the server refuses the client.
 */
export async function joinBoard(
  url: string,
  onMessage: (message: ServerMessage) => unknown,
): Promise<Board> {
  const client = new WebsocketClient({
    messages: json({ in: ServerMessage, out: ClientMessage }),
    reconnect: true,
  })
  listen(client, 'connect', (connection) => void listen(connection, 'message', onMessage))
  await client.open(url)

  const send = (message: ClientMessage): unknown => client.connection?.send(message)
  let cursor: Point
  let timer: ReturnType<typeof setTimeout> | undefined

  return {
    draw: (points) => send({ type: 'stroke', points }),
    moveCursor: (at) => {
      cursor = at
      timer ??= setTimeout(() => {
        timer = undefined
        send({ type: 'cursor', at: cursor })
      }, CURSOR_INTERVAL)
    },
    clear: () => send({ type: 'clear' }),
    leave: () => client.close(),
  }
}
