/**
 * An identifier that a client chooses for a frame or a join. It is opaque: the server returns it
 * unchanged. Null where a frame has none.
 */
export type Ref = string | null

/** The request of a client to join a topic. */
export interface JoinFrame {
  /** The kind of the frame. */
  readonly kind: 'join'
  /** The topic of the frame. */
  readonly topic: string
  /** The client's identifier of this membership; every later frame of the membership has it. */
  readonly joinRef: Ref
  /** The client's identifier of this frame; the reply has it, too. */
  readonly ref: Ref
  /** Any JSON value, or bytes; `{}` where there is none. */
  readonly payload: unknown
}

/** The request of a client to end its membership of a topic. */
export interface LeaveFrame {
  /** The kind of the frame. */
  readonly kind: 'leave'
  /** The topic of the frame. */
  readonly topic: string
  /** The client's identifier of the membership; null addresses the current one. */
  readonly joinRef: Ref
  /** The client's identifier of this frame; the reply has it, too. */
  readonly ref: Ref
}

/**
 * An event that one end sends to the other.
 *
 * A client's push has a ref where the client expects a reply. A server's push never has a ref; one
 * with neither ref nor joinRef is a broadcast, whose encoding serves every member.
 */
export interface PushFrame {
  /** The kind of the frame. */
  readonly kind: 'push'
  /** The topic of the frame. */
  readonly topic: string
  /** The name of the event. */
  readonly event: string
  /** The client's identifier of the membership; null addresses the current one. */
  readonly joinRef: Ref
  /** The client's identifier of this frame; the reply has it, too. */
  readonly ref: Ref
  /** Any JSON value, or bytes. */
  readonly payload: unknown
}

/** The reply of a server to a join, a leave or a push with the same ref. */
export interface ReplyFrame {
  /** The kind of the frame. */
  readonly kind: 'reply'
  /** The topic of the frame. */
  readonly topic: string
  /** The client's identifier of the membership; null addresses the current one. */
  readonly joinRef: Ref
  /** The ref of the frame that this is the reply to. */
  readonly ref: Ref
  /** `ok`, `error`, or a status of the application's own. */
  readonly status: string
  /** Any JSON value, or bytes; `{}` where there is none. */
  readonly payload: unknown
}

/** The notice of a server that a membership crashed: the client may join again. */
export interface ErrorFrame {
  /** The kind of the frame. */
  readonly kind: 'error'
  /** The topic of the frame. */
  readonly topic: string
  /** The client's identifier of the membership; null addresses the current one. */
  readonly joinRef: Ref
  /** Any JSON value; `{}` where there is none. */
  readonly payload: unknown
}

/** The notice of a server that a membership has ended: the client doesn't rejoin by itself. */
export interface CloseFrame {
  /** The kind of the frame. */
  readonly kind: 'close'
  /** The topic of the frame. */
  readonly topic: string
  /** The client's identifier of the membership; null addresses the current one. */
  readonly joinRef: Ref
}

/** The heartbeat of a client, to which the server has to reply. */
export interface HeartbeatFrame {
  /** The kind of the frame. */
  readonly kind: 'heartbeat'
  /** The client's identifier of this frame; the reply has it, too. */
  readonly ref: Ref
}

/** The reply of a server to a heartbeat. */
export interface HeartbeatReplyFrame {
  /** The kind of the frame. */
  readonly kind: 'heartbeatReply'
  /** The ref of the heartbeat that this is the reply to. */
  readonly ref: Ref
}

/** A ping, which a server sends at an interval, and to which the client doesn't reply. */
export interface PingFrame {
  /** The kind of the frame. */
  readonly kind: 'ping'
}

/** Any frame that a client may send. */
export type ClientFrame = JoinFrame | LeaveFrame | PushFrame | HeartbeatFrame

/** Any frame that a server may send. */
export type ServerFrame =
  PushFrame | ReplyFrame | ErrorFrame | CloseFrame | HeartbeatReplyFrame | PingFrame

/** Any frame of a server that belongs to a topic. */
export type TopicFrame = PushFrame | ReplyFrame | ErrorFrame | CloseFrame

/** Any frame of the channels layer, independent of its serializer. */
export type Frame = ClientFrame | ServerFrame

/** One end's half of a serializer: decodes what this end receives, and encodes what it sends. */
export interface Codec<Read extends Frame = Frame, Written extends Frame = Frame> {
  /**
   * Decodes a message. Bytes in a payload are a view of the message.
   *
   * @throws FrameError, and nothing else, whatever the peer sends: with 1007 for invalid JSON or
   * UTF-8, with 1008 for a malformed frame.
   */
  decode(data: string | Uint8Array): Read
  /**
   * Encodes a frame. Returns undefined where the serializer can't express the frame.
   *
   * @throws TypeError for what the application may not send: a payload that can't be JSON, an event
   * that the protocol reserves. RangeError for a name that is too long for a binary frame.
   */
  encode(frame: Written): string | Uint8Array | undefined
}

/**
 * The timings by which each end notices that the other is unreachable: all in milliseconds, false
 * for what the protocol doesn't have.
 */
export interface KeepaliveTimings {
  /** Interval of a client's heartbeats; the server replies to each before the next is due. */
  readonly heartbeat: number | false
  /** Interval of a server's pings. */
  readonly pingInterval: number | false
  /** Time without any frame of the client after which the server closes the connection. */
  readonly serverTimeout: number | false
  /** Time without any frame of the server after which the client drops the connection. */
  readonly clientTimeout: number | false
}

/**
 * A wire protocol of the channels layer, such as version 2 of Phoenix. It has a codec for each end,
 * as the two ends read different frames.
 */
export interface Serializer {
  /** The name of the protocol, for error messages. */
  readonly name: string
  /** The server's codec: decodes the frames of clients, and encodes the frames of a server. */
  readonly server: Codec<ClientFrame, ServerFrame>
  /** The client's codec: decodes the frames of a server, and encodes the frames of clients. */
  readonly client: Codec<ServerFrame, ClientFrame>
  /** The suffix that a client adds to the path of the server: `/websocket`, or an empty string. */
  readonly path: string
  /** The query parameters that a client adds, so that the server can choose the serializer. */
  readonly query: Readonly<Record<string, string>>
  /** Returns whether a request with that path and this query asks for the serializer. */
  readonly matches: (query: URLSearchParams) => boolean
  /** The subprotocol that a server selects where the client offers it; undefined: none. */
  readonly protocol: string | undefined
  /**
   * Returns the subprotocols that a client offers to send a token; undefined: the protocol can't
   * send a token that way.
   */
  readonly protocolsFor: ((token: string) => readonly string[]) | undefined
  /**
   * Whether a server replies to joins, leaves and pushes. Without replies, each of them is complete
   * as soon as it is sent.
   */
  readonly replies: boolean
  /** The timings by which each end notices that the other is unreachable. */
  readonly keepaliveTimings: KeepaliveTimings
}
