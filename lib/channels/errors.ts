import { setDefaults, WebsocketError, type ErrorCodes, type ErrorDetails } from '../errors.ts'

/** The details of a `ChannelError`: its topic and the reply. */
export interface ChannelErrorInit extends ErrorDetails<ErrorCodes['ChannelError']> {
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
    setDefaults(this, 'ChannelError', 'ERR_CHANNEL_FAILED')
  }

  declare readonly code: ErrorCodes['ChannelError']
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
    setDefaults(this, 'HistoryError', 'ERR_HISTORY_FAILED')
  }

  declare readonly code: ErrorCodes['HistoryError']
  /** The topic of the message that was not recorded, if there was one. */
  readonly topic: string | undefined

  constructor(
    messageOrCause?: unknown,
    details: ErrorDetails<ErrorCodes['HistoryError']> & { topic?: string | undefined } = {},
  ) {
    super(messageOrCause, details)
    this.topic = details.topic
  }
}
