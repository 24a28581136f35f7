import { unexpected } from '../errors.ts'
import { isFunction } from '../options/rules.ts'
import { handled } from '../promises.ts'
import type { RoomMember } from '../room.ts'
import type { Archive, Archived } from './archive.ts'
import { Log, recall, type HistorySettings, type Kept, type Known } from './history.ts'
import { isPlain, POSITION, SEEN, written, type Seen } from './position.ts'
import { writeJson } from './text.ts'

/** Who is a member of a topic on this node. */
export interface Members {
  readonly members: { readonly size: number }
  /** Resolves once what other nodes say is heard. */
  readonly standing: unknown
  add(member: RoomMember): void
  delete(member: RoomMember): void
}

/** A join that waits for what is kept. */
export interface Admission {
  /** Lets the member in: with this answer, and then these messages. */
  enter(reply: unknown, missed: readonly Kept[]): void
  /** Is told when it could not be let in. */
  failed(cause: unknown): void
}

/** A topic whose messages are kept. */
interface Shelf {
  readonly log: Log
  /** The senders that others have told the archive of, and how far. */
  learned: ReadonlyMap<string, Known>
  /** Resolves once they are known; undefined where they are. */
  learning: Promise<void> | undefined
}

const SHORTEST_SWEEP = 10 // milliseconds
const LONGEST_SWEEP = 10_000

/** Keeps the last messages of the topics of a pattern, and gives who comes back what they missed. */
export class Replay {
  readonly #settings: HistorySettings
  readonly #archive: Archive | undefined
  readonly #membersOf: (topic: string) => Members
  /** By the names of topics, the one that was used least recently first. */
  readonly #shelves = new Map<string, Shelf>()
  #timer: NodeJS.Timeout | undefined

  constructor(
    settings: HistorySettings,
    archive: Archive | undefined,
    membersOf: (topic: string) => Members,
  ) {
    this.#settings = settings
    this.#archive = archive
    this.#membersOf = membersOf
  }

  /**
   * Is a payload with its place among the messages of a topic.
   *
   * @throws TypeError for what isn't a plain object.
   */
  stamped(topic: string, payload: unknown): unknown {
    // What says itself what it is in JSON may be an object there.
    const said = isPlain(payload) && isFunction(payload.toJSON) ? payload.toJSON() : payload
    if (!isPlain(said)) {
      throw unexpected('a payload on a topic with `history`', 'an object of plain JSON', payload)
    }
    return { ...said, [POSITION]: written(this.#shelf(topic).log.next) }
  }

  /**
   * Lets a member in: at once, or when the archive has answered.
   *
   * @throws TypeError for an answer that isn't a plain object.
   */
  admit(topic: string, seen: Seen | undefined, reply: unknown, admission: Admission): void {
    if (!isPlain(reply)) {
      throw unexpected('the answer to a join with `history`', 'an object of plain JSON', reply)
    }
    const shelf = this.#shelf(topic)
    const enter: Admission['enter'] = (answer, missed) => admission.enter(answer, missed)
    const failed = (cause: unknown): void => admission.failed(cause)
    if (this.#archive && seen) {
      const said = snapshotOf(reply)
      const { standing } = this.#membersOf(topic)
      this.#archive
        .read(topic, standing)
        .then((archived) => {
          const { senders, kept } = merged(shelf, archived)
          const { recovered, ...found } = recall(seen, senders, kept)
          const isSure = recovered && archived !== undefined
          enter({ ...said, recovered: isSure, [SEEN]: asObject(found.seen) }, found.missed)
        })
        .catch(failed)
    } else if (shelf.learning) {
      const said = snapshotOf(reply)
      shelf.learning.then(() => enter({ ...said, [SEEN]: present(shelf) }, [])).catch(failed)
    } else if (seen) {
      const found = recall(seen, shelf.log.senders, shelf.log.kept)
      const { recovered } = found
      enter({ ...reply, recovered, [SEEN]: asObject(found.seen) }, found.missed)
    } else {
      enter({ ...reply, [SEEN]: present(shelf) }, [])
    }
  }

  /** Other nodes could not be heard: what was known before is vouched for no more. */
  doubt(): void {
    for (const [topic, shelf] of this.#shelves) {
      shelf.log.doubt()
      this.#learn(topic, shelf)
    }
  }

  /** The server has closed. */
  stop(): void {
    for (const [topic, shelf] of [...this.#shelves]) this.#drop(topic, shelf)
  }

  #shelf(topic: string): Shelf {
    const shelf = this.#shelves.get(topic)
    if (!shelf) return this.#newShelf(topic)
    this.#shelves.delete(topic) // and behind all others
    this.#shelves.set(topic, shelf)
    return shelf
  }

  #newShelf(topic: string): Shelf {
    const log = new Log(this.#settings, {
      said: ({ sender, n, message }) =>
        this.#archive?.keep(topic, { sender, n, data: String(message.data) }),
      doubted: () => this.#learn(topic, shelf),
    })
    const shelf: Shelf = { log, learned: new Map(), learning: undefined }
    const [oldest] = this.#shelves
    if (oldest && this.#shelves.size >= this.#settings.topics) this.#drop(...oldest)
    this.#shelves.set(topic, shelf)
    this.#membersOf(topic).add(log)
    this.#learn(topic, shelf)
    if (!this.#timer) this.#begin()
    return shelf
  }

  #drop(topic: string, { log }: Shelf): void {
    this.#shelves.delete(topic)
    this.#membersOf(topic).delete(log)
    if (this.#shelves.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  /** Tells the archive what this node is called from now on, and asks for the others. */
  #learn(topic: string, shelf: Shelf): void {
    if (!this.#archive) return
    this.#archive.keep(topic, { sender: shelf.log.name, n: 0, data: '' })
    const { standing } = this.#membersOf(topic)
    const learning = this.#archive.read(topic, standing).then((archived) => {
      if (archived) shelf.learned = archived.senders
      if (shelf.learning === learning) shelf.learning = undefined
    })
    shelf.learning = handled(learning)
  }

  #begin(): void {
    const period = Math.min(Math.max(this.#settings.age / 2, SHORTEST_SWEEP), LONGEST_SWEEP)
    this.#timer = setInterval(() => this.#sweep(), period)
    this.#timer.unref?.()
  }

  /** Lets go of what is too old, and of topics that nobody has been a member of for so long. */
  #sweep(): void {
    const now = Date.now()
    for (const [topic, shelf] of this.#shelves) {
      const { log } = shelf
      log.forget()
      if (this.#membersOf(topic).members.size > 1) log.used = now
      else if (now - log.used > this.#settings.age) this.#drop(topic, shelf)
    }
  }
}

/** Is what is known here and in the archive, each message once, those of a sender in its order. */
function merged({ log }: Shelf, archived: Archived | undefined): Archived {
  const senders = new Map(log.senders)
  if (!archived) return { senders, kept: log.kept }
  for (const [sender, { since, head, before }] of archived.senders) {
    const here = log.senders.get(sender) ?? { since, head }
    const known = { since: Math.min(since, here.since), head: Math.max(head, here.head), before }
    senders.set(sender, known)
  }
  const own = new Set(log.kept.map(written))
  const all = [...archived.kept.filter((kept) => !own.has(written(kept))), ...log.kept]
  return { senders, kept: inOrder(all) }
}

/** Puts those of each sender in order, at the places that are theirs. */
function inOrder(all: readonly Kept[]): readonly Kept[] {
  const lines = new Map<string, Kept[]>()
  for (const kept of all) lines.set(kept.sender, [...(lines.get(kept.sender) ?? []), kept])
  for (const line of lines.values()) line.sort((one, other) => one.n - other.n)
  return all.map((kept) => lines.get(kept.sender)?.shift() ?? kept)
}

/** Is how far all senders are by now, for who asks for nothing before. */
function present({ log, learned }: Shelf): Record<string, number> {
  const senders = [...learned, ...log.senders]
  return asObject(new Map(senders.map(([sender, { head }]) => [sender, head])))
}

/** Copies an answer that is sent later: what can't be JSON throws here, where the caller hears it. */
function snapshotOf(reply: object): object {
  return JSON.parse(writeJson(reply, 'the answer to a join')) as object
}

function asObject(seen: Seen): Record<string, number> {
  return Object.fromEntries(seen)
}
