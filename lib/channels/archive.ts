import debug from '#debug'
import { logTextOf, withoutCommand } from '../error-text.ts'
import { WebsocketError } from '../errors.ts'
import { isPromise } from '../promises.ts'
import { arrived, type Broadcast } from './broadcast.ts'
import type { Serializer } from './frame.ts'
import type {
  History,
  HistoryEntry,
  HistoryRecord,
  HistorySettings,
  Kept,
  Known,
} from './history.ts'
import { positionIn } from './position.ts'

/** What an archive has of a topic. */
export interface Archived {
  readonly kept: readonly Kept[]
  readonly senders: ReadonlyMap<string, Known>
}

const log = debug('simplewebsockets:replay')
const MOST_WAITING = 1_000 // messages that a slow store hasn't taken

/** Is where messages are kept besides the memory: nobody waits for it long, and its failures are told. */
export class Archive {
  readonly #store: History
  readonly #settings: HistorySettings
  readonly #serializer: Serializer
  readonly #failed: (error: WebsocketError) => void
  #waiting = 0
  /** Whether it was told already that it fails. */
  #told = false

  constructor(
    store: History,
    settings: HistorySettings,
    serializer: Serializer,
    failed: (error: WebsocketError) => void,
  ) {
    this.#store = store
    this.#settings = settings
    this.#serializer = serializer
    this.#failed = failed
  }

  /** Keeps a message; nobody waits for that. */
  keep(topic: string, entry: HistoryEntry): void {
    if (this.#waiting >= MOST_WAITING) {
      this.#tell(new Error(`${MOST_WAITING} messages wait for it`))
      return
    }
    this.#waiting++
    const done = (): void => {
      this.#waiting--
    }
    this.#ask(() => this.#store.keep(topic, entry, this.#settings)).then(
      () => {
        done()
        this.#told = false
      },
      (cause: unknown) => {
        done()
        this.#tell(cause)
      },
    )
  }

  /** Is what is kept of a topic, once something is so; undefined where that can't be known in time. */
  async read(topic: string, after: unknown): Promise<Archived | undefined> {
    try {
      return await this.#inTime(async () => {
        if (isPromise(after)) await after
        return this.#archived(topic, await this.#store.read(topic, this.#settings))
      })
    } catch (cause) {
      this.#tell(cause)
      return undefined
    }
  }

  async #inTime<Value>(asked: () => Promise<Value>): Promise<Value> {
    const { timeout } = this.#settings
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${timeout} ms`)), timeout)
    })
    try {
      return await Promise.race([this.#ask(asked), late])
    } finally {
      clearTimeout(timer)
    }
  }

  /** What throws at once has failed, too. */
  async #ask<Value>(asked: () => Promise<Value>): Promise<Value> {
    return asked()
  }

  #archived(topic: string, { entries, senders }: HistoryRecord): Archived {
    const kept = entries.flatMap(({ sender, n, data }) => {
      const message = this.#readable(data)
      const position = positionIn(message?.payload)
      const isMeant = position?.sender === sender && position.n === n
      if (message && isMeant) return [{ sender, n, message, at: 0 }]
      log('what is kept of %s makes no sense', topic)
      return []
    })
    const known = senders.map(
      ({ sender, since, head }) => [sender, { since, head, before: 0 }] as const,
    )
    return { kept, senders: new Map(known) }
  }

  #readable(data: string): Broadcast | undefined {
    try {
      return arrived(this.#serializer, data)
    } catch {
      return undefined
    }
  }

  /** Tells of a failure, and of no more until it works again. */
  #tell(cause: unknown): void {
    log('the history failed: %s', logTextOf(cause))
    if (this.#told) return
    this.#told = true
    this.#failed(new WebsocketError('the history failed', { cause: withoutCommand(cause) }))
  }
}
