import { Broadcast } from '../broadcast.ts'
import { phoenix, startsAsBroadcast } from '../phoenix.ts'
import { EPOCH, OFFSET } from './position.ts'
import type { HistoryEntry } from './store.ts'

const BORDER = '\n'
const TAIL = '}]'

/** A recorded message as its members get it, prepared once for all of them. */
export class RecordedMessage extends Broadcast {
  /** The id of the member that must not get it; empty for none. */
  readonly sender: string

  constructor(sender: string, text: string) {
    super(phoenix, text)
    this.sender = sender
  }
}

/** Returns what a store keeps of a message: its sender, and its frame of version 2 of Phoenix. */
export function encodeEntry(sender: string, text: string): string {
  return sender + BORDER + text
}

/** Returns an entry as a message with its offset in its payload; undefined where it can't be read. */
export function decodeEntry(
  { offset, data }: HistoryEntry,
  epoch: string,
): RecordedMessage | undefined {
  const border = data.indexOf(BORDER)
  const text = data.slice(border + 1)
  if (border < 0 || !text.endsWith(TAIL) || !startsAsBroadcast(text)) return undefined
  const head = text.slice(0, -TAIL.length)
  const comma = head.endsWith('{') ? '' : ','
  const life = offset === 1 ? `,"${EPOCH}":${JSON.stringify(epoch)}` : ''
  return new RecordedMessage(
    data.slice(0, border),
    `${head}${comma}"${OFFSET}":${offset}${life}${TAIL}`,
  )
}
