import { channel } from 'node:diagnostics_channel'
import type { Counts, DropReason } from './counts.ts'
import type { Watch } from './watch.ts'

/** The channels of `node:diagnostics_channel` that servers publish to; docs/diagnostics.md has them all. */
export const diagnostics = {
  open: channel('simplewebsockets:open'),
  close: channel('simplewebsockets:close'),
  message: channel('simplewebsockets:message'),
  drop: channel('simplewebsockets:drop'),
  refusal: channel('simplewebsockets:refusal'),
  join: channel('simplewebsockets:join'),
  leave: channel('simplewebsockets:leave'),
  backplane: channel('simplewebsockets:backplane'),
} satisfies Watch & Record<string, unknown>

/** Counts a message as dropped that is no connection's affair, or only one's, and tells of it. */
export function dropped(counts: Counts, reason: DropReason, connection?: object): void {
  counts.drops[reason]++
  if (diagnostics.drop.hasSubscribers) diagnostics.drop.publish({ reason, connection })
}
