import type { RecordedMessage } from './recorded-message.ts'
import type { HistoryPosition } from './store.ts'

/** Messages by offset; undefined stands for a message that can't be decoded. */
export type Messages = Map<number, RecordedMessage | undefined>

/** A join that waits for its start position in a topic's history. */
export interface HistoryJoin {
  /** The position of the last message that the client has seen; undefined where it sent none. */
  readonly since: HistoryPosition | undefined
  /** Number of latest messages for the member where the missed ones aren't recovered. */
  readonly backlog: number
  /** Returns whether the client still waits for the join. */
  readonly isWanted: () => boolean
  /** Completes the join. */
  readonly complete: (beginning: Beginning) => void
  /** Rejects the join: the history can't be read. */
  readonly reject: () => void
}

/** The start of a member: its position, and the messages before it. */
interface Beginning {
  readonly position: HistoryPosition
  /** Whether all missed messages are included; undefined where the client sent no position. */
  readonly recovered: boolean | undefined
  /** The earlier messages that the member receives. */
  readonly messages: readonly RecordedMessage[]
}

/** Returns the start of a join at a position, given the known messages up to that position. */
export function findBeginning(
  { since, backlog }: HistoryJoin,
  position: HistoryPosition,
  messagesByOffset: Messages,
): Beginning {
  const { epoch, offset } = position
  const missedMessages =
    since?.epoch === epoch ? messagesBetween(since.offset, offset, messagesByOffset) : undefined
  let first = offset
  while (first > offset - backlog && messagesByOffset.has(first)) first--
  const messages = missedMessages ?? messagesBetween(first, offset, messagesByOffset) ?? []
  return { position, recovered: since && missedMessages !== undefined, messages }
}

/** Returns the messages after one offset and up to another; undefined where one is unknown. */
function messagesBetween(
  from: number,
  to: number,
  messagesByOffset: Messages,
): readonly RecordedMessage[] | undefined {
  const messages: RecordedMessage[] = []
  for (let offset = from + 1; offset <= to; offset++) {
    if (!messagesByOffset.has(offset)) return undefined
    const message = messagesByOffset.get(offset)
    if (message) messages.push(message)
  }
  return from <= to ? messages : undefined
}

/**
 * Returns the offset after which joins need messages, where a log is at a position, or doesn't know
 * its epoch yet; undefined where the joins need only the position.
 */
export function earliestWanted(
  joins: readonly HistoryJoin[],
  epoch: string | undefined,
  offset: number,
): number | undefined {
  let earliest = epoch === undefined ? Infinity : offset
  for (const { since, backlog } of joins) {
    const mayBeSameEpoch = epoch === undefined || since?.epoch === epoch
    if (since && mayBeSameEpoch) earliest = Math.min(earliest, since.offset)
    if (backlog > 0) earliest = Math.min(earliest, Math.max(0, offset - backlog))
  }
  return earliest === Infinity ? undefined : earliest
}
