import { formatReport, messageOf } from './format.ts'
import { INSPECT } from './internal.ts'
import type { SchemaIssue } from './messages/standard-schema.ts'

/*
 * WebsocketError
 * ├─ ConnectError        a server could not listen; a client could not reach its server
 * ├─ PeerConnectError    a server rejected a peer: server/handshake/peer-connect-error.ts
 * ├─ CallbackError       a listener of the application failed
 * ├─ FrameError          an invalid or oversized message
 * ├─ ClosedError         an operation on something that has closed
 * ├─ ChannelError        a join or a push was refused, or not answered: channels/errors.ts
 * └─ HistoryError        the history of a topic could not be written or read: channels/errors.ts
 */

/**
 * The codes of each class of error. A code never changes, whatever its message says. Two classes
 * share a code where the cause is the same, seen from both ends.
 *
 * Types only: what a code means, its cure, and whether to try again, stands in docs/errors.md.
 */
export interface ErrorCodes {
  /** Failures of no other class. */
  WebsocketError:
    | 'ERR_UNEXPECTED' // the default
    | 'ERR_BACKPLANE_FAILED'
    | 'ERR_BACKPLANE_RECOVERED'
    | 'ERR_MESSAGE_INVALID'
    | 'ERR_TOO_MANY_PENDING'
    | 'ERR_UNSUPPORTED'
  /** Failures to connect, and to listen. */
  ConnectError:
    | 'ERR_CONNECT_FAILED' // the default
    | 'ERR_HANDSHAKE_ABORTED'
    | 'ERR_HANDSHAKE_REFUSED'
    | 'ERR_HANDSHAKE_TIMEOUT'
    | 'ERR_INVALID_ARGUMENT'
    | 'ERR_INVALID_CALL'
    | 'ERR_INVALID_HANDSHAKE'
    | 'ERR_LISTEN_FAILED'
    | 'ERR_SERVER_CLOSING'
  /** Handshakes that a server rejected. */
  PeerConnectError:
    | 'ERR_NOT_AUTHORIZED' // the default, unless the `reason` has another one
    | 'ERR_AUTHORIZE_FAILED'
    | 'ERR_HANDSHAKE_TIMEOUT'
    | 'ERR_HOST_REFUSED'
    | 'ERR_INVALID_HANDSHAKE'
    | 'ERR_ORIGIN_REFUSED'
    | 'ERR_PATH_REFUSED'
    | 'ERR_PEER_LEFT'
    | 'ERR_SERIALIZER_REFUSED'
    | 'ERR_SERVER_BUSY'
    | 'ERR_SERVER_CLOSING'
    | 'ERR_TOO_MANY_CONNECTIONS'
    | 'ERR_TOO_MANY_FROM_ADDRESS'
  /** Failures of a listener. */
  CallbackError: 'ERR_LISTENER_FAILED' // the default
  /** Messages and frames that a peer may not send. */
  FrameError:
    | 'ERR_INVALID_FRAME' // the default, unless the `closeCode` has another one
    | 'ERR_MESSAGE_INVALID'
    | 'ERR_INVALID_UTF8'
    | 'ERR_MESSAGE_TIMEOUT'
    | 'ERR_MESSAGE_TOO_BIG'
    | 'ERR_NO_LISTENER'
    | 'ERR_RATE_LIMIT'
    | 'ERR_SLOW_LISTENER'
    | 'ERR_UNSUPPORTED'
  /** Operations on something that has closed. */
  ClosedError: 'ERR_CLOSED' // the default
  /** Failures of a join, a push or a channel. */
  ChannelError:
    | 'ERR_CHANNEL_FAILED' // the default
    | 'ERR_MESSAGE_INVALID'
    | 'ERR_JOIN_REFUSED'
    | 'ERR_JOIN_TIMEOUT'
    | 'ERR_NO_LISTENER'
    | 'ERR_PUSH_REFUSED'
    | 'ERR_PUSH_TIMEOUT'
    | 'ERR_SLOW_LISTENER'
    | 'ERR_TOO_MANY_PENDING'
  /** Failures of a history store. */
  HistoryError: 'ERR_HISTORY_FAILED' // the default
  /** Arguments and calls that are wrong. */
  TypeError: 'ERR_INVALID_ARGUMENT' | 'ERR_INVALID_CALL' | 'ERR_UNKNOWN_NAME'
  /** Arguments that are out of range. */
  RangeError: 'ERR_INVALID_ARGUMENT' | 'ERR_MESSAGE_TOO_BIG'
}

/** The stable code of an error, by which a program tells errors apart: `error.code`. */
export type ErrorCode = ErrorCodes[keyof ErrorCodes]

/** The details of an error besides its message. */
export interface ErrorDetails<Code extends ErrorCode = ErrorCode> {
  /** The failure that the error wraps. */
  cause?: unknown
  /**
   * The code of the error.
   *
   * @default the code of the class
   */
  code?: Code | undefined
}

/**
 * The base class of every error of this package.
 *
 * Its constructor takes a message, or the failure to wrap. The message is then that of the failure,
 * or the name of the failure's type when the failure has no message.
 */
export class WebsocketError extends Error {
  static {
    setDefaults(this, 'WebsocketError', 'ERR_UNEXPECTED')
  }

  /** The stable code by which a program tells errors apart. docs/errors.md lists them all. */
  declare readonly code: ErrorCode

  constructor(messageOrCause?: unknown, { cause, code }: ErrorDetails = {}) {
    const text = typeof messageOrCause === 'string' ? messageOrCause : ''
    const wrapped = typeof messageOrCause === 'string' ? cause : (messageOrCause ?? cause)
    const fallback = wrapped === undefined ? new.target.prototype.name : messageOf(wrapped)
    super(text === '' ? fallback : text, wrapped === undefined ? undefined : { cause: wrapped })
    this.code = code ?? this.code // the prototype has the default of the class
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
export interface ConnectErrorInit extends ErrorDetails<ErrorCodes['ConnectError']> {
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
    setDefaults(this, 'ConnectError', 'ERR_CONNECT_FAILED')
  }

  declare readonly code: ErrorCodes['ConnectError']
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

/** The error of a listener that threw, or whose promise rejected. `cause` is that failure. */
export class CallbackError extends WebsocketError {
  static {
    setDefaults(this, 'CallbackError', 'ERR_LISTENER_FAILED')
  }

  declare readonly code: ErrorCodes['CallbackError']
  /** The event whose listener failed. */
  readonly event: string | undefined

  constructor(
    messageOrCause?: unknown,
    details: ErrorDetails<ErrorCodes['CallbackError']> & { event?: string | undefined } = {},
  ) {
    super(messageOrCause, details)
    this.event = details.event
    // The stack shows where the listener threw, not where this error was created.
    const [, frames] =
      /(\n {4}at [^]*)$/.exec(this.cause instanceof Error ? (this.cause.stack ?? '') : '') ?? []
    if (frames !== undefined) this.stack = `${this.name}: ${this.message}${frames}`
  }
}

/** The details of a `FrameError`. */
export interface FrameErrorInit extends ErrorDetails<ErrorCodes['FrameError']> {
  /**
   * The close code that the connection closes with.
   *
   * @default 1002
   */
  closeCode?: number | undefined
  /** The issues that a schema found in a message. */
  issues?: readonly SchemaIssue[] | undefined
}

const CODE_BY_CLOSE_CODE: Readonly<Record<number, ErrorCodes['FrameError']>> = {
  1007: 'ERR_INVALID_UTF8',
  1008: 'ERR_MESSAGE_INVALID',
  1009: 'ERR_MESSAGE_TOO_BIG',
}

/** The error of a peer that sent an invalid or oversized message. */
export class FrameError extends WebsocketError {
  static {
    setDefaults(this, 'FrameError', 'ERR_INVALID_FRAME')
  }

  declare readonly code: ErrorCodes['FrameError']
  /** The close code that the connection closes with, RFC 6455 §7.4. */
  readonly closeCode: number
  /** The issues that a schema found in a message; undefined for all other errors. */
  readonly issues?: readonly SchemaIssue[]

  constructor(
    messageOrCause?: unknown,
    { cause, closeCode = 1002, code = CODE_BY_CLOSE_CODE[closeCode], issues }: FrameErrorInit = {},
  ) {
    super(messageOrCause, { cause, code })
    this.closeCode = closeCode
    if (issues) this.issues = issues
  }
}

/** The details of a `ClosedError`: the closed object and its close code. */
export interface ClosedErrorInit extends ErrorDetails<ErrorCodes['ClosedError']> {
  /**
   * The close code that the object closed with.
   *
   * @default 1006
   */
  closeCode?: number | undefined
  /** The object that has closed. */
  target?: object | undefined
}

/** The error of an operation on an object that has closed. */
export class ClosedError extends WebsocketError {
  static {
    setDefaults(this, 'ClosedError', 'ERR_CLOSED')
  }

  declare readonly code: ErrorCodes['ClosedError']
  /** The close code that the object closed with, RFC 6455 §7.4. */
  readonly closeCode: number
  readonly #target: object | undefined

  constructor(messageOrCause?: unknown, details: ClosedErrorInit = {}) {
    super(messageOrCause, details)
    this.closeCode = details.closeCode ?? 1006
    this.#target = details.target
  }

  /** The object that has closed. */
  get target(): object | undefined {
    return this.#target
  }
}

/**
 * Sets the name and the default code of a class on its prototype: an own `name` would be printed a
 * second time.
 */
export function setDefaults(
  { prototype }: { readonly prototype: WebsocketError },
  name: keyof ErrorCodes,
  code: ErrorCode,
): void {
  Object.assign(prototype, { name, code })
}

/** Adds a code to a built-in error, and returns it. */
export function withCode<Kind extends Error>(error: Kind, code: ErrorCode): Kind {
  return Object.assign(error, { code })
}
