/** A receiver of one kind of event, with the shape of a channel of `node:diagnostics_channel`. */
interface DiagnosticsChannel {
  /** Whether the channel has subscribers. */
  readonly hasSubscribers: boolean
  /** Passes an event to the subscribers. */
  publish(event: object): void
}

/** The diagnostics channels for the events of a connection owner's connections. */
export interface DiagnosticsSink {
  /** The channel for connections that have ended. */
  readonly close: DiagnosticsChannel
  /** The channel for received messages. */
  readonly message: DiagnosticsChannel
  /** The channel for dropped messages. */
  readonly drop: DiagnosticsChannel
}
