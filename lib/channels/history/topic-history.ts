import debug from '#debug'
import type { WebsocketError } from '../../errors.ts'
import { formatLogLine, withoutCommand } from '../../format.ts'
import { DONE, isPromise, markHandled, rejected, withTimeout } from '../../promises.ts'
import { isFunction, invalidValue } from '../../validation.ts'
import { HistoryError } from '../errors.ts'
import { isJsonObject, writeJson } from '../protocol/json.ts'
import { LiveLog } from './live-log.ts'
import { MemoryHistory } from './memory-history.ts'
import type { HistorySettings } from './options.ts'
import { EPOCH, HISTORY, OFFSET, withoutFields } from './position.ts'
import type { ReadQueue } from './read-queue.ts'
import { encodeEntry, type RecordedMessage } from './recorded-message.ts'
import type { HistoryPosition, HistoryStore } from './store.ts'

/** A join to a topic with a history, as the server channel passes it. */
export interface JoinTerms {
  /** The position of the last message that the client has seen; undefined where it sent none. */
  readonly since: HistoryPosition | undefined
  readonly reply: unknown
  /** Whether the member may receive earlier messages. */
  readonly recover: boolean
  readonly isWanted: () => boolean
  readonly enter: (reply: unknown, messages: readonly RecordedMessage[]) => void
  readonly refuse: () => void
  /** Receives an error that `enter` throws. */
  readonly failed: (cause: unknown) => void
}

/** The members of the channel server that a history uses. */
export interface TopicHistoryOwner {
  /** The reads of all histories of the server. */
  readonly reads: ReadQueue
  /** Returns whether a topic has members on this node. */
  hasMembers(topic: string): boolean
  /** Sends a message to the members of a topic on this node. */
  deliver(topic: string, message: RecordedMessage): void
  /** Ends the memberships of a topic on this node, so that their clients rejoin. */
  endMemberships(topic: string): void
  /** Counts a message that was not recorded, or can't be decoded. */
  countDrop(): void
  reportFailure(error: WebsocketError): void
}

interface OpenLog {
  readonly log: LiveLog
  /** Allows a `MemoryHistory` to delete the topic. */
  readonly release: () => void
  /** Closes the log, after the last member left. */
  timer?: NodeJS.Timeout
}

/** The position of a client that sent an invalid one. Its epoch equals no real epoch. */
export const INVALID_POSITION: HistoryPosition = { epoch: '', offset: 0 }

const log = debug('simplewebsockets:history')
const CLOSE_DELAY = 5_000 // milliseconds that a log stays open after its last member left
const MAX_PENDING = 10_000 // messages that wait for the store
const MAX_PENDING_SIZE = 16 * 1024 * 1024 // characters of the messages that wait for the store

/** The history of the topics of one pattern. */
export class TopicHistory {
  readonly store: HistoryStore
  readonly settings: HistorySettings
  readonly owner: TopicHistoryOwner
  readonly #logs = new Map<string, OpenLog>()
  /** The messages that wait for the store, and their characters. */
  #pendingCount = 0
  #pendingSize = 0
  /** Whether the store's failure was reported already. */
  #isFailing = false

  constructor(settings: HistorySettings, store: HistoryStore, owner: TopicHistoryOwner) {
    this.settings = settings
    this.store = store
    this.owner = owner
  }

  /**
   * Records a message. Resolves once the store has it. Rejects with a `HistoryError` where the
   * store fails or doesn't answer within `timeout`.
   */
  append(topic: string, sender: string, text: string): Promise<void> {
    const data = encodeEntry(sender, text)
    try {
      if (this.#pendingCount >= MAX_PENDING || this.#pendingSize + data.length > MAX_PENDING_SIZE) {
        throw new Error(`${this.#pendingCount} messages wait for it`)
      }
      const position = this.store.append(topic, data, this.settings)
      if (isPromise(position)) return this.#trackPending(topic, data, position)
      this.#onRecorded(topic, data, position)
      return DONE
    } catch (cause) {
      return rejected(this.#failAppend(topic, cause))
    }
  }

  /**
   * Completes a join: at once, or when the store has answered.
   *
   * @throws TypeError for a reply that isn't a plain object.
   */
  admit(topic: string, { reply, since, recover, ...join }: JoinTerms): void {
    if (!isJsonObject(reply)) {
      throw invalidValue('the answer to a join with `history`', 'an object of plain JSON', reply)
    }
    const replyCopy = JSON.parse(writeJson(reply, 'the answer to a join')) as object
    this.#openLog(topic).admit({
      // A member that may not receive earlier messages recovers none: no epoch matches.
      since: since && !recover ? INVALID_POSITION : since,
      backlog: recover ? this.settings.backlog : 0,
      isWanted: join.isWanted,
      reject: join.refuse,
      complete: ({ position, recovered, messages }) => {
        const isRecovery = recovered !== undefined
        try {
          const fields = { ...(isRecovery && { recovered }), [HISTORY]: position }
          join.enter({ ...replyCopy, ...fields }, messages)
        } catch (cause) {
          join.failed(cause) // so that the other joins of this read go on
        }
      },
    })
  }

  /** Notes that a member left a topic, or that a join ended. Closes an unused log after a while. */
  releaseIfUnused(topic: string): void {
    const entry = this.#logs.get(topic)
    if (!entry || this.#isInUse(topic, entry.log)) return
    clearTimeout(entry.timer)
    entry.timer = setTimeout(() => {
      if (this.#logs.get(topic) === entry && !this.#isInUse(topic, entry.log)) this.#close(topic)
    }, CLOSE_DELAY)
    entry.timer.unref?.()
  }

  /** Closes all logs: the server has closed. */
  stop(): void {
    for (const topic of [...this.#logs.keys()]) this.#close(topic)
  }

  /** Notes that the store works, or reports its failure: once, until it works again. */
  report(failure?: { readonly cause: unknown }): void {
    const isFirstFailure = failure && !this.#isFailing
    this.#isFailing = failure !== undefined
    if (failure) log('the history failed: %s', formatLogLine(failure.cause))
    if (isFirstFailure) this.owner.reportFailure(errorOf(failure.cause))
  }

  #openLog(topic: string): LiveLog {
    const entry = this.#logs.get(topic)
    if (entry) return entry.log
    const liveLog = new LiveLog(topic, this)
    const release = this.store instanceof MemoryHistory ? this.store.retain(topic) : () => {}
    this.#logs.set(topic, { log: liveLog, release })
    liveLog.start(() => {
      if (this.#logs.get(topic)?.log === liveLog) this.#close(topic)
    })
    return liveLog
  }

  #close(topic: string): void {
    const entry = this.#logs.get(topic)
    this.#logs.delete(topic)
    clearTimeout(entry?.timer)
    entry?.release()
    try {
      entry?.log.close()
    } catch (cause) {
      this.report({ cause }) // the store failed to unsubscribe
    }
  }

  #isInUse(topic: string, liveLog: LiveLog): boolean {
    return this.owner.hasMembers(topic) || liveLog.hasWaitingJoins
  }

  #trackPending(topic: string, data: string, append: PromiseLike<HistoryPosition>): Promise<void> {
    this.#pendingCount++
    this.#pendingSize += data.length
    const end = (): void => {
      this.#pendingCount--
      this.#pendingSize -= data.length
    }
    append.then(end, end)
    // A message that is recorded after the timeout is delivered all the same: the store has it.
    const delivery = append.then((position) => this.#onRecorded(topic, data, position))
    const result = withTimeout(delivery, this.settings.timeout)
    return markHandled(
      result.catch((cause: unknown) => Promise.reject(this.#failAppend(topic, cause))),
    )
  }

  #onRecorded(topic: string, data: string, position: HistoryPosition): void {
    this.report()
    // A store with `subscribe` delivers the message through the subscription, in the right order.
    if (!this.store.subscribe) this.#logs.get(topic)?.log.receive({ ...position, data })
  }

  #failAppend(topic: string, cause: unknown): HistoryError {
    this.report({ cause })
    this.owner.countDrop()
    return errorOf(cause, topic)
  }
}

/**
 * Returns a payload in the form in which it may be recorded: an object, without the fields for the
 * offset and the epoch.
 *
 * @throws TypeError for what isn't a plain object.
 */
export function toRecordable(payload: unknown): unknown {
  // The result of `toJSON` is what has to be an object.
  const json = isJsonObject(payload) && isFunction(payload.toJSON) ? payload.toJSON() : payload
  if (isJsonObject(json)) return withoutFields(json, OFFSET, EPOCH)
  throw invalidValue('a payload on a topic with `history`', 'an object of plain JSON', payload)
}

function errorOf(cause: unknown, topic?: string): HistoryError {
  return new HistoryError('the history failed', { topic, cause: withoutCommand(cause) })
}
