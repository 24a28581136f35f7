import debug from '#debug'
import { logTextOf, withoutCommand } from '../../error-text.ts'
import { HistoryError, unexpected } from '../../errors.ts'
import { isFunction } from '../../options/rules.ts'
import { DONE, handled, inTime, isPromise, rejected } from '../../promises.ts'
import { isJsonObject, writeJson } from '../text.ts'
import type { HistoryHost, LiveLogOwner } from './history-host.ts'
import { LiveLog } from './live-log.ts'
import { MemoryHistory } from './memory-history.ts'
import type { HistorySettings } from './options.ts'
import { EPOCH, HISTORY, OFFSET, withoutFields } from './position.ts'
import { encodeEntry, type RecordedMessage } from './recorded.ts'
import type { HistoryPosition, HistoryStore } from './store.ts'

/** A join as its membership gives it. */
export interface JoinTerms {
  /** What its client has seen; undefined where it asks for nothing. */
  readonly since: HistoryPosition | undefined
  readonly reply: unknown
  /** Whether it may be given what was said before. */
  readonly recover: boolean
  readonly isWanted: () => boolean
  readonly enter: (reply: unknown, messages: readonly RecordedMessage[]) => void
  readonly refuse: () => void
  /** Takes what `enter` throws. */
  readonly failed: (cause: unknown) => void
}

interface LogInUse {
  readonly log: LiveLog
  readonly release: () => void
  timer?: NodeJS.Timeout
}

/** The position of a client that says nothing that makes sense. */
export const NOWHERE: HistoryPosition = { epoch: '', offset: 0 }

const log = debug('simplewebsockets:history')
const LINGER = 5_000 // milliseconds that a log lives on after its last member
const MAX_APPENDS = 10_000 // messages that wait for a store,
const MAX_APPENDED = 16 * 1024 * 1024 // and their characters

/** The history of the topics of one pattern. */
export class TopicHistory implements LiveLogOwner {
  readonly store: HistoryStore
  readonly settings: HistorySettings
  readonly host: HistoryHost
  readonly #logs = new Map<string, LogInUse>()
  #appends = 0
  #appended = 0
  /** Whether it was told that the store fails. */
  #isTold = false

  constructor(settings: HistorySettings, store: HistoryStore, host: HistoryHost) {
    this.settings = settings
    this.store = store
    this.host = host
  }

  /**
   * Records a message. Resolves once the store has it.
   *
   * It rejects with a `HistoryError` where the store fails or takes too long.
   */
  append(topic: string, sender: string, text: string): Promise<void> {
    const data = encodeEntry(sender, text)
    try {
      if (this.#appends >= MAX_APPENDS || this.#appended + data.length > MAX_APPENDED) {
        throw new Error(`${this.#appends} messages wait for it`)
      }
      const position = this.store.append(topic, data, this.settings)
      if (isPromise(position)) return this.#wait(topic, data, position)
      this.#record(topic, data, position)
      return DONE
    } catch (cause) {
      return rejected(this.#fail(topic, cause))
    }
  }

  /**
   * Lets a member in: at once, or when the store has answered.
   *
   * @throws TypeError for an answer that isn't a plain object.
   */
  admit(topic: string, { reply, since, recover, ...join }: JoinTerms): void {
    if (!isJsonObject(reply)) {
      throw unexpected('the answer to a join with `history`', 'an object of plain JSON', reply)
    }
    const answer = JSON.parse(writeJson(reply, 'the answer to a join')) as object
    this.#logOf(topic).admit({
      // Where it may not be given what is old, it has seen nothing of what is there.
      since: since && !recover ? NOWHERE : since,
      backlog: recover ? this.settings.backlog : 0,
      isWanted: join.isWanted,
      refuse: join.refuse,
      enter: ({ position, recovered, messages }) => {
        const isTold = recovered !== undefined
        try {
          const fields = { ...(isTold && { recovered }), [HISTORY]: position }
          join.enter({ ...answer, ...fields }, messages)
        } catch (cause) {
          join.failed(cause) // so that it harms no other join
        }
      },
    })
  }

  /** A member of a topic, or a join, has gone. */
  left(topic: string): void {
    const entry = this.#logs.get(topic)
    if (!entry || this.#isUsed(topic, entry.log)) return
    clearTimeout(entry.timer)
    entry.timer = setTimeout(() => {
      if (this.#logs.get(topic) === entry && !this.#isUsed(topic, entry.log)) this.#close(topic)
    }, LINGER)
    entry.timer.unref?.()
  }

  /** The server has closed. */
  stop(): void {
    for (const topic of [...this.#logs.keys()]) this.#close(topic)
  }

  report(failure?: { readonly cause: unknown }): void {
    const isNews = failure && !this.#isTold
    this.#isTold = failure !== undefined
    if (failure) log('the history failed: %s', logTextOf(failure.cause))
    if (isNews) this.host.failed(errorOf(failure.cause))
  }

  #logOf(topic: string): LiveLog {
    const entry = this.#logs.get(topic)
    if (entry) return entry.log
    const log = new LiveLog(topic, this)
    const release = this.store instanceof MemoryHistory ? this.store.retain(topic) : () => {}
    this.#logs.set(topic, { log, release })
    log.start(() => {
      if (this.#logs.get(topic)?.log === log) this.#close(topic)
    })
    return log
  }

  #close(topic: string): void {
    const entry = this.#logs.get(topic)
    this.#logs.delete(topic)
    clearTimeout(entry?.timer)
    entry?.release()
    try {
      entry?.log.close()
    } catch (cause) {
      this.report({ cause }) // of the store that unsubscribes
    }
  }

  #isUsed(topic: string, log: LiveLog): boolean {
    return this.host.hasMembers(topic) || log.isAwaited
  }

  #wait(topic: string, data: string, recorded: PromiseLike<HistoryPosition>): Promise<void> {
    this.#appends++
    this.#appended += data.length
    const end = (): void => {
      this.#appends--
      this.#appended -= data.length
    }
    recorded.then(end, end)
    // One that comes too late is delivered all the same: the store has it.
    const done = recorded.then((position) => this.#record(topic, data, position))
    const inside = inTime(done, this.settings.timeout)
    return handled(inside.catch((cause: unknown) => Promise.reject(this.#fail(topic, cause))))
  }

  #record(topic: string, data: string, position: HistoryPosition): void {
    this.report()
    // Others come back by the subscription, in their order.
    if (!this.store.subscribe) this.#logs.get(topic)?.log.receive({ ...position, data })
  }

  #fail(topic: string, cause: unknown): HistoryError {
    this.report({ cause })
    this.host.dropped()
    return errorOf(cause, topic)
  }
}

/**
 * Returns a payload as it may be recorded.
 *
 * @throws TypeError for what isn't a plain object.
 */
export function recordable(payload: unknown): unknown {
  // What says itself what it is in JSON may be an object there.
  const said = isJsonObject(payload) && isFunction(payload.toJSON) ? payload.toJSON() : payload
  if (isJsonObject(said)) return withoutFields(said, OFFSET, EPOCH)
  throw unexpected('a payload on a topic with `history`', 'an object of plain JSON', payload)
}

function errorOf(cause: unknown, topic?: string): HistoryError {
  return new HistoryError('the history failed', { topic, cause: withoutCommand(cause) })
}
