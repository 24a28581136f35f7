import {
  listen,
  PeerConnectError,
  WebsocketServer,
  type Data,
  type RequestDetails,
  type Room,
  type WebsocketConnection,
} from 'simplewebsockets'

const LONGEST_NAME = 32
const LONGEST_MESSAGE = 1_000

/** Who is connected, as their token says. */
export interface Guest {
  readonly name: string
}

/** Makes the chat: a server at `/chat` that speaks the protocol of Azu's ChatChannel. */
export function makeChat(): WebsocketServer<Guest> {
  const server = new WebsocketServer<Guest>({ path: '/chat', authorize: toGuest })
  listen(server, 'client', (client) => {
    const seat = new Seat(server, client)
    listen(client, 'message', (message) => seat.hear(message))
    listen(client, 'close', () => seat.leave())
  })
  return server
}

/**
 * A name is all the token there is: a chat with accounts would look its token up here. Azu's protocol
 * has it in the url, so it is asked for there; a real token belongs in a cookie or a subprotocol.
 */
function toGuest(request: RequestDetails): Guest {
  const name = request.token({ query: true })?.trim() ?? ''
  if (name === '') {
    throw new PeerConnectError('say who you are: /chat?token=<your name>', { status: 401 })
  }
  if ([...name].length > LONGEST_NAME || /\p{Cc}/u.test(name)) {
    const text = `a name has at most ${LONGEST_NAME} characters, and no control characters`
    throw new PeerConnectError(text, { status: 400 })
  }
  return { name }
}

/** One guest's place in the chat: the room they are in, and what they say there. */
class Seat {
  readonly #server: WebsocketServer<Guest>
  readonly #client: WebsocketConnection<Guest>
  #room: Room<WebsocketConnection<Guest>> | undefined

  constructor(server: WebsocketServer<Guest>, client: WebsocketConnection<Guest>) {
    this.#server = server
    this.#client = client
    this.#answer({
      type: 'system',
      message: "Connected. Send a 'join' message with room_id to join a room.",
      timestamp: now(),
    })
  }

  hear(data: Data): void {
    const message = parse(data)
    if (!message) {
      this.#refuse('Invalid JSON format')
      return
    }
    try {
      const wrong = this.#obey(message)
      if (wrong !== undefined) this.#refuse(wrong)
    } catch (error) {
      console.error(error)
      this.#refuse('Internal server error')
    }
  }

  /** Also after the connection has closed: then the room has let go of it already. */
  leave(): void {
    const room = this.#room
    if (!room) return
    this.#room = undefined
    room.delete(this.#client)
    if (room.size === 0) return
    const left = { type: 'user_left', message: 'A user left the room', count: room.size }
    room.emit(JSON.stringify(left))
  }

  /** Returns what is wrong with the message, if anything; so do those below. */
  #obey({ type, room_id: roomId, message }: Incoming): string | undefined {
    switch (type) {
      case 'join':
        return this.#join(roomId)
      case 'chat_message':
        return this.#chat(message)
      case 'typing_start':
        return this.#typing('user_typing')
      case 'typing_stop':
        return this.#typing('user_stopped_typing')
      case 'ping':
        this.#answer({ type: 'pong', timestamp: now() })
        return undefined
      default:
        return `Unknown message type: ${typeof type === 'string' ? type : toText(type)}`
    }
  }

  #join(roomId: unknown): string | undefined {
    if (typeof roomId !== 'string' || isBlank(roomId)) return 'room_id is required'
    const again = this.#room?.name === roomId
    if (!again) this.leave()
    const room = (this.#room = this.#server.room(roomId).add(this.#client))
    this.#answer({
      type: 'joined',
      room_id: roomId,
      message: `Welcome to room ${roomId}`,
      timestamp: now(),
    })
    if (again) return undefined // no new member, so no message
    const joined = { type: 'user_joined', message: 'A user joined the room', count: room.size }
    room.emit(JSON.stringify(joined), { except: this.#client })
    return undefined
  }

  #chat(message: unknown): string | undefined {
    if (!this.#room) return "Not in a room. Send a 'join' message first."
    if (typeof message !== 'string') return 'Message is required'
    if ([...message].length > LONGEST_MESSAGE) return 'Message too long'
    if (isBlank(message)) return 'Message cannot be empty'
    const said = { type: 'chat_message', message, timestamp: now(), user_id: this.#name }
    this.#room.emit(JSON.stringify(said))
    return undefined
  }

  #typing(type: 'user_typing' | 'user_stopped_typing'): string | undefined {
    if (!this.#room) return 'Not in a room'
    const typing = { type, user_id: this.#name, timestamp: now() }
    this.#room.emit(JSON.stringify(typing), { except: this.#client })
    return undefined
  }

  #refuse(message: string): void {
    this.#answer({ type: 'error', message, timestamp: now() })
  }

  #answer(answer: object): void {
    this.#client.send(JSON.stringify(answer))
  }

  get #name(): string {
    return this.#client.context.name
  }
}

/** What a guest may send; a peer can send anything, so every value is looked at before it is used. */
interface Incoming {
  readonly type?: unknown
  readonly room_id?: unknown
  readonly message?: unknown
}

/** Is what a guest sent, if it is a JSON object. */
function parse(data: Data): Incoming | undefined {
  if (typeof data !== 'string') return undefined
  try {
    const value: unknown = JSON.parse(data)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined
  } catch {
    return undefined
  }
}

function isBlank(text: string): boolean {
  return text.trim() === ''
}

function toText(value: unknown): string {
  return value === undefined ? '' : JSON.stringify(value)
}

/** Is the time as RFC 3339 writes it, in UTC. */
function now(): string {
  return new Date().toISOString()
}
