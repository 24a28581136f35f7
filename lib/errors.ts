import { messageOf, formatReport, describeValue } from './error-text.ts'

export { messageOf, describeValue }

/*
 * WebsocketError
 * ├─ ConnectError        a server could not listen; a client could not reach its server
 * ├─ PeerConnectError    a server rejected the handshake of a peer
 * ├─ CallbackError       a listener of the application failed
 * ├─ FrameError          an invalid or oversized message
 * ├─ ClosedError         an operation on something that has closed
 * ├─ ChannelError        a join or a push was refused, or not answered
 * └─ HistoryError        a message could not be recorded, or the history of a topic not be read
 */

// `util.inspect.custom`: the method whose result `console.log` of Node, Bun and Deno prints.
const INSPECT: unique symbol = Symbol.for('nodejs.util.inspect.custom')

/** The details of an error besides its message. */
export interface ErrorDetails {
  /** The failure that the error wraps. */
  cause?: unknown
}

/**
 * The base class of every error of this package.
 *
 * Its constructor takes a message, or the failure to wrap. The message is then that of the failure,
 * or the name of the failure's type when the failure has no message.
 */
export class WebsocketError extends Error {
  static {
    this.prototype.name = 'WebsocketError'
  }

  constructor(messageOrCause?: unknown, { cause }: ErrorDetails = {}) {
    const text = typeof messageOrCause === 'string' ? messageOrCause : ''
    const wrapped = typeof messageOrCause === 'string' ? cause : (messageOrCause ?? cause)
    const fallback = wrapped === undefined ? new.target.prototype.name : messageOf(wrapped)
    super(text === '' ? fallback : text, wrapped === undefined ? undefined : { cause: wrapped })
  }

  /** The message, under the name that SimpleWebsockets uses. */
  get msg(): string {
    return this.message
  }

  /**
   * Prints the error to stderr: its stack and code, and those of its causes. Omits other fields of
   * a cause, such as the arguments of a Redis command.
   */
  log(): void {
    console.error(this)
  }

  /** @internal */
  [INSPECT](): string {
    return formatReport(this)
  }
}

/** The details of a `ConnectError`: the HTTP response of a server that rejected the handshake. */
export interface ConnectErrorInit extends ErrorDetails {
  /** The HTTP status of the response. */
  status?: number | undefined
  /** The headers of the response, with names in lower case. */
  headers?: Readonly<Record<string, string>> | undefined
  /** The start of the response's body, at most 4 KiB. */
  body?: string | undefined
}

/** The error of a server that could not listen, or of a client that could not reach its server. */
export class ConnectError extends WebsocketError {
  static {
    this.prototype.name = 'ConnectError'
  }

  /** The HTTP status, when the server responded with a status other than 101. */
  readonly status: number | undefined
  /** The headers of that response, with names in lower case. */
  readonly headers: Readonly<Record<string, string>> | undefined
  /** The start of that response's body, at most 4 KiB. */
  readonly body: string | undefined

  constructor(messageOrCause?: unknown, details: ConnectErrorInit = {}) {
    super(messageOrCause, details)
    this.status = details.status
    this.headers = details.headers
    this.body = details.body
  }
}

/** The reason why a server rejected a handshake. */
export type RefusalReason =
  /** The request was no opening handshake, or it was too long. */
  | 'request'
  /** The server serves nothing at the requested path. */
  | 'path'
  /** The server does not serve the requested host. */
  | 'host'
  /** Pages of the request's origin may not connect. */
  | 'origin'
  /** The server had `maxConnections` connections already. */
  | 'maxConnections'
  /** The peer's address had `maxConnectionsPerAddress` connections already. */
  | 'maxConnectionsPerAddress'
  /** The handshake was not complete within the `handshakeTimeout`. */
  | 'handshakeTimeout'
  /** `authorize` rejected the peer, or failed. */
  | 'authorize'
  /** The peer supports none of the serializers of the channel server. */
  | 'channels'
  /** The server was closing. */
  | 'closing'
  /** A loop over `client` had its maximum of waiting connections. */
  | 'slowLoop'
  /** The peer disconnected before the handshake was complete. */
  | 'left'

/** The details of a `PeerConnectError`: the HTTP response to a peer that is rejected. */
export interface PeerConnectErrorInit extends ErrorDetails {
  /**
   * The reason of the rejection, as counted by `server.stats()`.
   *
   * @default 'authorize'
   */
  reason?: RefusalReason | undefined
  /**
   * The HTTP status of the response.
   *
   * @default 403
   */
  status?: number | undefined
  /**
   * The body of the response.
   *
   * @default the message of the error
   */
  body?: string | undefined
  /** Seconds until the peer may try again: the Retry-After of the response, RFC 9110 §10.2.3. */
  retryAfter?: number | undefined
}

/** The error of a rejected handshake. Throw one in `authorize` to choose the response's status. */
export class PeerConnectError extends WebsocketError {
  static {
    this.prototype.name = 'PeerConnectError'
  }

  /** The HTTP status of the response; 0 when the peer disconnected before the response. */
  readonly status: number
  /** The reason of the rejection, as counted by `server.stats()`. */
  readonly reason: RefusalReason
  /**
   * The body of the response. When it is undefined the body is the message, unless that comes from
   * a failure in the application.
   */
  readonly body: string | undefined
  /** Seconds until the peer may try again: the Retry-After of the response, if there is one. */
  readonly retryAfter: number | undefined

  constructor(messageOrCause?: unknown, details: PeerConnectErrorInit = {}) {
    super(messageOrCause, details)
    this.status = details.status ?? 403
    this.reason = details.reason ?? 'authorize'
    this.body = details.body
    this.retryAfter = details.retryAfter
  }
}

/** The error of a listener that threw, or whose promise rejected. `cause` is that failure. */
export class CallbackError extends WebsocketError {
  static {
    this.prototype.name = 'CallbackError'
  }

  /** The event whose listener failed. */
  readonly event: string | undefined

  constructor(
    messageOrCause?: unknown,
    details: ErrorDetails & { event?: string | undefined } = {},
  ) {
    super(messageOrCause, details)
    this.event = details.event
    // The useful stack is that of the throw in the listener, not that of the catch here.
    const [, frames] =
      /(\n {4}at [^]*)$/.exec(this.cause instanceof Error ? (this.cause.stack ?? '') : '') ?? []
    if (frames !== undefined) this.stack = `${this.name}: ${this.message}${frames}`
  }
}

/** The error of a peer that sent an invalid or oversized message. */
export class FrameError extends WebsocketError {
  static {
    this.prototype.name = 'FrameError'
  }

  /** The close code that the connection closes with, RFC 6455 §7.4. */
  readonly code: number

  constructor(
    messageOrCause?: unknown,
    details: ErrorDetails & { code?: number | undefined } = {},
  ) {
    super(messageOrCause, details)
    this.code = details.code ?? 1002
  }
}

/** The details of a `ClosedError`: the closed object and its close code. */
export interface ClosedErrorInit extends ErrorDetails {
  /**
   * The close code that the object closed with.
   *
   * @default 1006
   */
  code?: number | undefined
  /** The object that has closed. */
  target?: object | undefined
}

/** The error of an operation on an object that has closed. */
export class ClosedError extends WebsocketError {
  static {
    this.prototype.name = 'ClosedError'
  }

  /** The close code that the object closed with, RFC 6455 §7.4. */
  readonly code: number
  readonly #target: object | undefined

  constructor(messageOrCause?: unknown, details: ClosedErrorInit = {}) {
    super(messageOrCause, details)
    this.code = details.code ?? 1006
    this.#target = details.target
  }

  /** The object that has closed. */
  get target(): object | undefined {
    return this.#target
  }
}

/** The details of a `ChannelError`: its topic and the reply. */
export interface ChannelErrorInit extends ErrorDetails {
  /** The topic of the join or the push. */
  topic?: string | undefined
  /** The status of the reply. */
  status?: string | undefined
  /** The payload of the reply. */
  reply?: unknown
}

/** The error of a join or a push that was refused, or not answered in time. */
export class ChannelError extends WebsocketError {
  static {
    this.prototype.name = 'ChannelError'
  }

  /** The topic of the join or the push. */
  readonly topic: string | undefined
  /** The status of the reply; undefined when there was no reply. */
  readonly status: string | undefined
  /** The payload of the reply. */
  readonly reply: unknown

  constructor(messageOrCause?: unknown, details: ChannelErrorInit = {}) {
    super(messageOrCause, details)
    this.topic = details.topic
    this.status = details.status
    this.reply = details.reply
  }
}

/** The error of a topic's history store that failed or took too long. `cause` is the reason. */
export class HistoryError extends WebsocketError {
  static {
    this.prototype.name = 'HistoryError'
  }

  /** The topic of the message that was not recorded, if there was one. */
  readonly topic: string | undefined

  constructor(
    messageOrCause?: unknown,
    details: ErrorDetails & { topic?: string | undefined } = {},
  ) {
    super(messageOrCause, details)
    this.topic = details.topic
  }
}

/** Returns the error of an invalid value: the text states the thing, the cure and the value. */
export function invalidValue(thing: string, expected: string, value: unknown): TypeError {
  return new TypeError(`expected ${thing} to be ${expected}, got ${describeValue(value)}`)
}

/** Returns the error of an unknown name. Its text suggests the most similar known name. */
export function unknownNameError(kind: string, name: string, known: readonly string[]): TypeError {
  const aliases = synonyms
    .map((words) => ({ words, knownName: words.find((word) => known.includes(word)) }))
    .flatMap(({ words, knownName }) =>
      knownName === undefined ? [] : words.map((word) => ({ word, knownName })),
    )
  const [nearest] = [...known.map((knownName) => ({ word: knownName, knownName })), ...aliases]
    .map(({ word, knownName }) => ({
      word,
      knownName,
      edits: editDistance(name.toLowerCase(), word.toLowerCase()),
    }))
    .filter(({ word, edits }) => edits <= Math.max(2, word.length / 3))
    .sort((one, two) => one.edits - two.edits)
  const cure = nearest ? `did you mean \`${nearest.knownName}\`?` : `there are ${known.join(', ')}`
  return new TypeError(`unknown ${kind} \`${name}\`: ${cure}`)
}

/** Names that other libraries use for the same thing. */
const synonyms: readonly (readonly string[])[] = [
  ['client', 'connect', 'open', 'connection', 'connected'],
  ['message', 'data'],
  ['close', 'closed', 'disconnect', 'disconnected', 'end'],
]

/** Returns the Levenshtein distance: how many letters to add, remove or change. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, column) => column)
  for (const [rowIndex, letter] of [...from].entries()) {
    const next = [rowIndex + 1]
    for (const [column, other] of [...to].entries()) {
      const change = (row[column] ?? 0) + (letter === other ? 0 : 1)
      next.push(Math.min(change, (row[column + 1] ?? 0) + 1, (next[column] ?? 0) + 1))
    }
    row = next
  }
  return row.at(-1) ?? 0
}
