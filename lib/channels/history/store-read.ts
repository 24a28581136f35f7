import type { HistoryJoin, Messages } from './find-beginning.ts'
import { decodeEntry, type RecordedMessage } from './recorded-message.ts'
import type { HistoryEntry, HistoryPage } from './store.ts'

/** A recorded message as the store delivers it. */
export type HistoryMessage = HistoryEntry & { readonly epoch: string }

/** Maximum characters of the messages that wait for a read, or that are kept for waiting joins. */
export const MAX_WAITING = 1024 * 1024
const OVERHEAD = 100 // characters that each message counts in addition to its own

/** Returns how many characters a message counts. */
export function sizeOf({ data }: HistoryMessage): number {
  return data.length + OVERHEAD
}

/** A read in progress, for the joins that wait for it and for a log that is behind the store. */
export class StoreRead {
  /** The messages of the store's page and those delivered since the read began, by offset. */
  readonly messages: Messages = new Map()
  /** Whether messages may have been missed since the read began. */
  mayHaveMissed = false
  #joins: readonly HistoryJoin[] = []
  /** The messages that arrived before the read began, and wait for it. */
  #earlyMessages: readonly HistoryMessage[] = []
  /** Characters that the messages delivered before the page arrives may still add. */
  #capacity = MAX_WAITING

  get joins(): readonly HistoryJoin[] {
    return this.#joins
  }

  get earlyMessages(): readonly HistoryMessage[] {
    return this.#earlyMessages
  }

  /** Notes that the store is being read now, for these joins and messages. */
  begin(joins: readonly HistoryJoin[], earlyMessages: readonly HistoryMessage[]): void {
    this.#joins = joins
    this.#earlyMessages = earlyMessages
    this.mayHaveMissed = false
  }

  /** Keeps a message that was delivered during the read, where joins may need it. */
  keep(message: HistoryMessage, recordedMessage: RecordedMessage | undefined): void {
    if (this.#joins.length === 0) return
    this.#capacity -= sizeOf(message)
    if (this.#capacity < 0) this.messages.clear()
    else this.messages.set(message.offset, recordedMessage)
  }

  /** Adds the messages of the store's page. */
  addPage({ epoch, entries }: HistoryPage): void {
    this.#capacity = Infinity // the waiting messages are limited by MAX_WAITING already
    for (const entry of entries) {
      if (this.messages.has(entry.offset)) continue
      this.messages.set(entry.offset, decodeEntry(entry, epoch))
    }
  }
}
