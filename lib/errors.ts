import { messageOf, reportOf, show } from './error-text.ts'

export { messageOf, show }

/*
 * WebsocketError
 * ├─ ConnectError        a server could not listen; a client could not reach its server
 * ├─ PeerConnectError    a peer was not let in
 * ├─ CallbackError       a listener of yours failed
 * ├─ FrameError          an invalid or oversized message
 * ├─ ClosedError         something was asked of what has closed
 * ├─ ChannelError        a join or a push was refused, or not answered
 * └─ HistoryError        a message could not be recorded, or the history of a topic not be read
 */

// What `console.log` of Node, Bun and Deno prints of an object: `util.inspect.custom`.
const INSPECT: unique symbol = Symbol.for('nodejs.util.inspect.custom')

/** What an error is made with, besides its message. */
export interface ErrorDetails {
  /** What it wraps. */
  cause?: unknown
}

/**
 * Is the root of every error of this package.
 *
 * Made from a message, or from the failure it wraps: then its message is the failure's, or the name
 * of the failure's type where that has none.
 */
export class WebsocketError extends Error {
  static {
    this.prototype.name = 'WebsocketError'
  }

  constructor(what?: unknown, { cause }: ErrorDetails = {}) {
    const text = typeof what === 'string' ? what : ''
    const wrapped = typeof what === 'string' ? cause : (what ?? cause)
    const fallback = wrapped === undefined ? new.target.prototype.name : messageOf(wrapped)
    super(text === '' ? fallback : text, wrapped === undefined ? undefined : { cause: wrapped })
  }

  /** Is the message, by the name that SimpleWebsockets gives it. */
  get msg(): string {
    return this.message
  }

  /**
   * Prints the error to stderr: its stack and code, and those of its causes. Other fields of a cause
   * are left out, such as the arguments of a Redis command.
   */
  log(): void {
    console.error(this)
  }

  /** @internal */
  [INSPECT](): string {
    return reportOf(this)
  }
}

/** What a server answered to a client that it did not let in. */
export interface Refusal extends ErrorDetails {
  /** The HTTP status of the answer. */
  status?: number | undefined
  /** The headers of the answer, their names in lower case. */
  headers?: Readonly<Record<string, string>> | undefined
  /** The start of the answer's body, at most 4 KiB. */
  body?: string | undefined
}

/** Tells that a server could not listen, or that a client could not reach its server. */
export class ConnectError extends WebsocketError {
  static {
    this.prototype.name = 'ConnectError'
  }

  /** The HTTP status, when a server answered something else than 101. */
  readonly status: number | undefined
  /** The headers of that answer, their names in lower case. */
  readonly headers: Readonly<Record<string, string>> | undefined
  /** The start of that answer's body, at most 4 KiB. */
  readonly body: string | undefined

  constructor(what?: unknown, details: Refusal = {}) {
    super(what, details)
    this.status = details.status
    this.headers = details.headers
    this.body = details.body
  }
}

/** Why a peer was not let in. */
export type RefusalReason =
  /** What it asked for was no opening handshake, or one too long. */
  | 'request'
  /** Nothing is served at its path. */
  | 'path'
  /** It asked for a host that is not served. */
  | 'host'
  /** Pages of its origin may not connect. */
  | 'origin'
  /** There were as many connections as there may be. */
  | 'maxConnections'
  /** Its address had as many connections as it may have. */
  | 'maxConnectionsPerAddress'
  /** It was not let in within the `handshakeTimeout`. */
  | 'handshakeTimeout'
  /** `authorize` did not want it, or failed. */
  | 'authorize'
  /** It speaks no dialect of the channels. */
  | 'channels'
  /** The server was closing. */
  | 'closing'
  /** A loop over `client` had as many connections waiting as it may. */
  | 'slowLoop'
  /** It left before. */
  | 'left'

/** What a peer is answered that isn't let in. */
export interface Denial extends ErrorDetails {
  /** Why, as `server.stats()` counts it. Default: 'authorize'. */
  reason?: RefusalReason | undefined
  /** The HTTP status. Default: 403. */
  status?: number | undefined
  /** The body. Default: the message of the error. */
  body?: string | undefined
  /** Seconds after which to come back, as the answer's Retry-After, RFC 9110 §10.2.3. */
  retryAfter?: number | undefined
}

/** Tells that a peer was not let in; throw one in `authorize` to choose the answer's status. */
export class PeerConnectError extends WebsocketError {
  static {
    this.prototype.name = 'PeerConnectError'
  }

  /** The HTTP status of the answer; 0 when the peer had gone before it could be answered. */
  readonly status: number
  /** Why, as `server.stats()` counts it. */
  readonly reason: RefusalReason
  /** The body of the answer; undefined: the message, unless it is that of a failure of yours. */
  readonly body: string | undefined
  /** Seconds after which to come back, in the answer's Retry-After, if any. */
  readonly retryAfter: number | undefined

  constructor(what?: unknown, details: Denial = {}) {
    super(what, details)
    this.status = details.status ?? 403
    this.reason = details.reason ?? 'authorize'
    this.body = details.body
    this.retryAfter = details.retryAfter
  }
}

/** Tells that a listener of yours threw, or returned a promise that rejected: `cause` says what. */
export class CallbackError extends WebsocketError {
  static {
    this.prototype.name = 'CallbackError'
  }

  /** The event whose listener failed. */
  readonly event: string | undefined

  constructor(what?: unknown, details: ErrorDetails & { event?: string | undefined } = {}) {
    super(what, details)
    this.event = details.event
    // Where it threw is what you look for, not where that was caught.
    const [, frames] =
      /(\n {4}at [^]*)$/.exec(this.cause instanceof Error ? (this.cause.stack ?? '') : '') ?? []
    if (frames !== undefined) this.stack = `${this.name}: ${this.message}${frames}`
  }
}

/** Tells that a peer sent an invalid or oversized message. */
export class FrameError extends WebsocketError {
  static {
    this.prototype.name = 'FrameError'
  }

  /** The close code that the connection ends with, RFC 6455 §7.4. */
  readonly code: number

  constructor(what?: unknown, details: ErrorDetails & { code?: number | undefined } = {}) {
    super(what, details)
    this.code = details.code ?? 1002
  }
}

/** What has closed, and with which code. */
export interface Closure extends ErrorDetails {
  /** The close code that it ended with. Default: 1006. */
  code?: number | undefined
  /** What has closed. */
  target?: object | undefined
}

/** Tells that something was asked of what has closed. */
export class ClosedError extends WebsocketError {
  static {
    this.prototype.name = 'ClosedError'
  }

  /** The close code that it ended with, RFC 6455 §7.4. */
  readonly code: number
  readonly #target: object | undefined

  constructor(what?: unknown, details: Closure = {}) {
    super(what, details)
    this.code = details.code ?? 1006
    this.#target = details.target
  }

  /** What has closed. */
  get target(): object | undefined {
    return this.#target
  }
}

/** What was refused on a channel. */
export interface Refused extends ErrorDetails {
  /** The topic that it was about. */
  topic?: string | undefined
  /** The status of the answer. */
  status?: string | undefined
  /** What was answered. */
  reply?: unknown
}

/** Tells that a join or a push was refused, or not answered in time. */
export class ChannelError extends WebsocketError {
  static {
    this.prototype.name = 'ChannelError'
  }

  /** The topic that it was about. */
  readonly topic: string | undefined
  /** The status of the answer; undefined where there was none. */
  readonly status: string | undefined
  /** What was answered. */
  readonly reply: unknown

  constructor(what?: unknown, details: Refused = {}) {
    super(what, details)
    this.topic = details.topic
    this.status = details.status
    this.reply = details.reply
  }
}

/** Tells that the store of a topic's history failed, or took too long: `cause` says why. */
export class HistoryError extends WebsocketError {
  static {
    this.prototype.name = 'HistoryError'
  }

  /** The topic of the message that was not recorded, if there was one. */
  readonly topic: string | undefined

  constructor(what?: unknown, details: ErrorDetails & { topic?: string | undefined } = {}) {
    super(what, details)
    this.topic = details.topic
  }
}

/** Makes the error of a value that isn't what it should be: the thing, the cure, the value. */
export function unexpected(thing: string, wanted: string, got: unknown): TypeError {
  return new TypeError(`expected ${thing} to be ${wanted}, got ${show(got)}`)
}

/** Makes the error of a name that nobody knows, with the nearest one that is known. */
export function unknownName(kind: string, name: string, known: readonly string[]): TypeError {
  const meant = synonyms
    .map((words) => ({ words, own: words.find((word) => known.includes(word)) }))
    .flatMap(({ words, own }) => (own === undefined ? [] : words.map((word) => ({ word, own }))))
  const [nearest] = [...known.map((own) => ({ word: own, own })), ...meant]
    .map(({ word, own }) => ({
      word,
      own,
      steps: distance(name.toLowerCase(), word.toLowerCase()),
    }))
    .filter(({ word, steps }) => steps <= Math.max(2, word.length / 3))
    .sort((one, two) => one.steps - two.steps)
  const cure = nearest ? `did you mean \`${nearest.own}\`?` : `there are ${known.join(', ')}`
  return new TypeError(`unknown ${kind} \`${name}\`: ${cure}`)
}

/** What other libraries call the same. */
const synonyms: readonly (readonly string[])[] = [
  ['client', 'connect', 'open', 'connection', 'connected'],
  ['message', 'data'],
  ['close', 'closed', 'disconnect', 'disconnected', 'end'],
]

/** Counts the letters to add, drop or change on the way from one word to another (Levenshtein). */
function distance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, column) => column)
  for (const [line, letter] of [...from].entries()) {
    const next = [line + 1]
    for (const [column, other] of [...to].entries()) {
      const swap = (row[column] ?? 0) + (letter === other ? 0 : 1)
      next.push(Math.min(swap, (row[column + 1] ?? 0) + 1, (next[column] ?? 0) + 1))
    }
    row = next
  }
  return row.at(-1) ?? 0
}
