import { Broadcast } from '../protocol/broadcast.ts'
import { phoenix, startsAsBroadcast } from '../protocol/phoenix.ts'
import { EPOCH, OFFSET } from './position.ts'
import type { HistoryEntry } from './store.ts'

const SEPARATOR = '\n'
const FRAME_END = '}]'

/** A recorded message as the members receive it, encoded once for all of them. */
export class RecordedMessage extends Broadcast {
  /** The id of the member that must not receive the message; empty for none. */
  readonly sender: string

  constructor(sender: string, text: string) {
    super(phoenix, text)
    this.sender = sender
  }
}

/** Returns the data that a store keeps of a message: its sender and its Phoenix V2 frame. */
export function encodeEntry(sender: string, text: string): string {
  return sender + SEPARATOR + text
}

/**
 * Returns the message of an entry, with the offset added to its payload; undefined where the entry
 * can't be decoded.
 */
export function decodeEntry(
  { offset, data }: HistoryEntry,
  epoch: string,
): RecordedMessage | undefined {
  const separator = data.indexOf(SEPARATOR)
  const text = data.slice(separator + 1)
  if (separator < 0 || !text.endsWith(FRAME_END) || !startsAsBroadcast(text)) return undefined
  const head = text.slice(0, -FRAME_END.length)
  const comma = head.endsWith('{') ? '' : ','
  const epochField = offset === 1 ? `,"${EPOCH}":${JSON.stringify(epoch)}` : ''
  return new RecordedMessage(
    data.slice(0, separator),
    `${head}${comma}"${OFFSET}":${offset}${epochField}${FRAME_END}`,
  )
}

/** The prefix of this node's sender ids, so that no two nodes have the same. */
const NODE_ID = Buffer.from(crypto.getRandomValues(new Uint8Array(9))).toString('base64url')
let senderCount = 0

/** Returns a new id for a sender of recorded messages. */
export function createSenderId(): string {
  return `${NODE_ID}.${++senderCount}`
}
