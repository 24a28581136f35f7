import { channel } from 'node:diagnostics_channel'
import type { Counts, DropReason } from '../connection/counts.ts'
import type { DiagnosticsSink } from './watch.ts'

/**
 * The channels of `node:diagnostics_channel` that servers publish to. docs/diagnostics.md describes
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
