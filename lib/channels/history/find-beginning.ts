import type { RecordedMessage } from './recorded.ts'
import type { HistoryPosition } from './store.ts'

/** Messages by their offsets; undefined stands for one that can't be read. */
export type Messages = Map<number, RecordedMessage | undefined>

/** A join that waits for its place in a topic's history. */
export interface HistoryJoin {
  /** What its client has seen; undefined where it asks for nothing. */
  readonly since: HistoryPosition | undefined
  /** How many of the latest messages it gets where it isn't given what it missed. */
  readonly backlog: number
  /** Tells whether its client still waits. */
  readonly isWanted: () => boolean
  /** Lets it in. */
  readonly enter: (beginning: Beginning) => void
  /** Refuses it: the history can't be read. */
  readonly refuse: () => void
}

/** What a member begins with. */
interface Beginning {
  readonly position: HistoryPosition
  /** Whether it is given all that it missed; undefined where it asked for nothing. */
  readonly recovered: boolean | undefined
  /** What it is given of what was said before. */
  readonly messages: readonly RecordedMessage[]
}

/** Returns what a join begins with at a position, of the messages that are known before that. */
export function findBeginning(
  { since, backlog }: HistoryJoin,
  position: HistoryPosition,
  known: Messages,
): Beginning {
  const { epoch, offset } = position
  const missed = since?.epoch === epoch ? messagesBetween(since.offset, offset, known) : undefined
  let first = offset
  while (first > offset - backlog && known.has(first)) first--
  const messages = missed ?? messagesBetween(first, offset, known) ?? []
  return { position, recovered: since && missed !== undefined, messages }
}

/** Returns the messages behind one offset and up to another; undefined where one is not known. */
function messagesBetween(
  from: number,
  to: number,
  known: Messages,
): readonly RecordedMessage[] | undefined {
  const messages: RecordedMessage[] = []
  for (let offset = from + 1; offset <= to; offset++) {
    if (!known.has(offset)) return undefined
    const message = known.get(offset)
    if (message) messages.push(message)
  }
  return from <= to ? messages : undefined
}

/**
 * Returns the offset behind which joins want messages, where a log is at a position, or doesn't know one;
 * undefined where only the position is wanted.
 */
export function earliestWanted(
  joins: readonly HistoryJoin[],
  epoch: string | undefined,
  offset: number,
): number | undefined {
  let earliest = epoch === undefined ? Infinity : offset
  for (const { since, backlog } of joins) {
    const isOfLife = epoch === undefined || since?.epoch === epoch
    if (since && isOfLife) earliest = Math.min(earliest, since.offset)
    if (backlog > 0) earliest = Math.min(earliest, Math.max(0, offset - backlog))
  }
  return earliest === Infinity ? undefined : earliest
}
