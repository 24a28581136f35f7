import { channel } from 'node:diagnostics_channel'
import type { Counts, DropReason } from '../connection/counts.ts'

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

/**
 * The channels of `node:diagnostics_channel` that servers publish to. docs/how-to/diagnostics.md describes
 * them all.
 */
export const diagnostics = {
  open: channel('simplewebsockets:open'),
  close: channel('simplewebsockets:close'),
  message: channel('simplewebsockets:message'),
  drop: channel('simplewebsockets:drop'),
  refusal: channel('simplewebsockets:refusal'),
  join: channel('simplewebsockets:join'),
  leave: channel('simplewebsockets:leave'),
  backplane: channel('simplewebsockets:backplane'),
} satisfies DiagnosticsSink & Record<string, unknown>

/**
 * Counts a dropped message, and publishes it to `simplewebsockets:drop`. `connection` is set where
 * the message concerns a single connection.
 */
export function recordDrop(counts: Counts, reason: DropReason, connection?: object): void {
  counts.drops[reason]++
  if (diagnostics.drop.hasSubscribers) diagnostics.drop.publish({ reason, connection })
}
