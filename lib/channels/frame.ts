/** Is what a client numbers its frames with: an opaque text, answered exactly as it came, or none. */
export type Ref = string | null

/** A client asks to be a member of a topic. */
export interface JoinFrame {
  /** What it is. */
  readonly kind: 'join'
  /** What it is about. */
  readonly topic: string
  /** What the client calls the membership it asks for; on every later frame of it. */
  readonly joinRef: Ref
  /** What the client numbers it with, and an answer to it. */
  readonly ref: Ref
  /** Any JSON value, or bytes; `{}` where there is none. */
  readonly payload: unknown
}

/** A client's membership of a topic ends, as it wishes. */
export interface LeaveFrame {
  /** What it is. */
  readonly kind: 'leave'
  /** What it is about. */
  readonly topic: string
  /** What the client calls the membership; null: whichever it has. */
  readonly joinRef: Ref
  /** What the client numbers it with, and an answer to it. */
  readonly ref: Ref
}

/**
 * One end tells the other of an event.
 *
 * A client's has a ref where an answer is wanted. A server's never has; one with neither ref nor
 * joinRef is a broadcast, whose encoding serves every member.
 */
export interface PushFrame {
  /** What it is. */
  readonly kind: 'push'
  /** What it is about. */
  readonly topic: string
  /** What its sender calls it. */
  readonly event: string
  /** What the client calls the membership; null: whichever it has. */
  readonly joinRef: Ref
  /** What the client numbers it with, and an answer to it. */
  readonly ref: Ref
  /** Any JSON value, or bytes. */
  readonly payload: unknown
}

/** A server answers a join, a leave or a push: what is answered is known by its ref. */
export interface ReplyFrame {
  /** What it is. */
  readonly kind: 'reply'
  /** What it is about. */
  readonly topic: string
  /** What the client calls the membership; null: whichever it has. */
  readonly joinRef: Ref
  /** What the client numbers it with, and an answer to it. */
  readonly ref: Ref
  /** `ok`, `error`, or a word of the application's own. */
  readonly status: string
  /** Any JSON value, or bytes; `{}` where there is none. */
  readonly payload: unknown
}

/** A membership crashed in the server: the client may join again. */
export interface ErrorFrame {
  /** What it is. */
  readonly kind: 'error'
  /** What it is about. */
  readonly topic: string
  /** The membership that is meant; null: whichever the client has. */
  readonly joinRef: Ref
  /** Any JSON value; `{}` where there is none. */
  readonly payload: unknown
}

/** A membership is over: the client doesn't join again by itself. */
export interface CloseFrame {
  /** What it is. */
  readonly kind: 'close'
  /** What it is about. */
  readonly topic: string
  /** The membership that is meant; null: whichever the client has. */
  readonly joinRef: Ref
}

/** A client asks whether the server is there. */
export interface HeartbeatFrame {
  /** What it is. */
  readonly kind: 'heartbeat'
  /** What the client numbers it with, and an answer to it. */
  readonly ref: Ref
}

/** A server answers that it is there. */
export interface HeartbeatReplyFrame {
  /** What it is. */
  readonly kind: 'heartbeatReply'
  /** What the client numbers it with, and an answer to it. */
  readonly ref: Ref
}

/** A server says unasked that it is there. */
export interface PingFrame {
  /** What it is. */
  readonly kind: 'ping'
}

/** Is what a client may say. */
export type ClientFrame = JoinFrame | LeaveFrame | PushFrame | HeartbeatFrame

/** Is what a server may say. */
export type ServerFrame =
  PushFrame | ReplyFrame | ErrorFrame | CloseFrame | HeartbeatReplyFrame | PingFrame

/** Is what a server may say about a topic. */
export type TopicFrame = PushFrame | ReplyFrame | ErrorFrame | CloseFrame

/** Is what the two ends of the channels layer say to each other, in no dialect. */
export type Frame = ClientFrame | ServerFrame

/** Reads what one end of a connection receives, and writes what it sends, in a dialect. */
export interface Codec<Read extends Frame = Frame, Written extends Frame = Frame> {
  /**
   * Reads a message. Bytes in a payload are a view of it.
   *
   * @throws FrameError, and nothing else, whatever comes: with 1007 for what isn't JSON or UTF-8, with
   * 1008 for what is malformed.
   */
  decode(data: string | Uint8Array): Read
  /**
   * Writes a frame; undefined where the dialect has no words for it.
   *
   * @throws TypeError for what the application may not say: a payload that can't be JSON, an event
   * that the dialect keeps for itself. RangeError for a name too long for a frame of bytes.
   */
  encode(frame: Written): string | Uint8Array | undefined
}

/**
 * How each end knows that the other is still there; all in milliseconds, false: not in this dialect.
 */
export interface SignsOfLife {
  /** How often a client sends a heartbeat, which the server answers before the next is due. */
  readonly heartbeat: number | false
  /** How often a server sends a ping. */
  readonly ping: number | false
  /** How long a server waits for any frame of a client before it closes the connection. */
  readonly serverPatience: number | false
  /** How long a client waits for any frame of its server before it drops the connection. */
  readonly clientPatience: number | false
}

/** Is a dialect of the channels layer: two codecs, as the two ends read different bytes. */
export interface Serializer {
  /** What it is called in messages for humans. */
  readonly name: string
  /** Reads what clients say, and writes what a server says. */
  readonly server: Codec<ClientFrame, ServerFrame>
  /** Reads what a server says, and writes what a client says. */
  readonly client: Codec<ServerFrame, ClientFrame>
  /** What a client's path ends with, after that of the server: `/websocket`, or nothing. */
  readonly path: string
  /** What a client adds to its query, so that the server knows the dialect. */
  readonly query: Readonly<Record<string, string>>
  /** Tells whether a request with that path and this query asks for the dialect. */
  readonly matches: (query: URLSearchParams) => boolean
  /** The subprotocol that a server answers with when it was offered; undefined: it has none. */
  readonly protocol: string | undefined
  /** The subprotocols that a client offers to hand over a token; undefined: no token travels so. */
  readonly protocolsFor: ((token: string) => readonly string[]) | undefined
  /** Whether joins, leaves and pushes are answered: without, they are done when they are sent. */
  readonly replies: boolean
  /** How each end knows that the other is still there. */
  readonly signs: SignsOfLife
}
