import { Inbox, type Taker } from '../inbox.ts'
import { afterTurn } from '../turn.ts'

/** Names what hears of every event. */
export const EVERY: unique symbol = Symbol('every')

/** An event by its name, or all of them. */
export type Mailed = string | typeof EVERY

/** What waits in a mail. */
export interface Letter {
  readonly event: string
  /** Its bytes. */
  readonly size: number
  /** Where it stands among all that came. */
  readonly number: number
}

/** Is told of what waits in the mails of a connection, as it grows and shrinks. */
export interface Tally {
  /** Whether messages count that wait for want of a listener, not only for a slow one. */
  readonly countsUnheard: boolean
  /** Adds to the messages that wait, and to their bytes. */
  tally(messages: number, bytes: number): void
}

const MOST_FORMER = 1_000 // names of events that were listened to

/** What waits for those who hear of the same. */
class Box<Value extends Letter> extends Inbox<Value> {
  /** The number of the first letter that came since somebody hears of it. */
  since = 0
}

/**
 * Keeps what came on a channel for its listeners, some of which hear of one event and some of every
 * one: each kind has an inbox of its own, so that a slow one delays no other.
 *
 * What nobody hears of waits, in the inbox of every event, until somebody does.
 */
export class Mail<Value extends Letter> {
  readonly #tally: Tally
  #every: Box<Value> | undefined
  /** Of the events that somebody listens to, or whose last listener left some behind. */
  #named: Map<string, Box<Value>> | undefined
  /** Whether every event was ever listened to. */
  #handlesAll = false
  /** The events that were listened to, and are not any more. */
  #former: Set<string> | undefined
  #next = 0 // the number of the next letter
  #waiting = 0
  #messages = 0
  #bytes = 0
  #ended = false

  constructor(tally: Tally) {
    this.#tally = tally
  }

  /** How many letters wait for a slow listener. */
  get waiting(): number {
    return this.#waiting
  }

  /** Whether nothing more will come. */
  get hasEnded(): boolean {
    return this.#ended
  }

  /** The bytes of what waits, as they are tallied. */
  get bytes(): number {
    return this.#bytes
  }

  /** Is what waits already where one of that event would wait for want of a listener. */
  unheard(event: string): { readonly waiting: number; readonly bytes: number } | undefined {
    const named = this.#named?.get(event)
    if (this.#every?.heard === true || named?.heard === true) return undefined
    return named ?? this.#every
  }

  /** Whether an event ever had a listener, of its own or of every event. */
  handles(event: string): boolean {
    return this.#handlesAll || this.#named?.has(event) === true || this.#former?.has(event) === true
  }

  /** Takes out the letters whose event never had a listener. */
  takeUnhandled(): Value[] {
    if (this.#handlesAll) return []
    const letters = this.#every?.drain() ?? []
    for (const letter of letters) {
      if (this.handles(letter.event)) this.#every?.put(letter, letter.size)
    }
    this.changed()
    return letters.filter(({ event }) => !this.handles(event))
  }

  /** Gives a letter to those who hear of it. */
  put(letter: Value): void {
    this.#next = letter.number + 1
    const named = this.#named?.get(letter.event)
    const every = this.#every
    const heard = [named, every].filter((box) => isHeard(box))
    // Without a listener it waits with older ones of that name, or of every event.
    const boxes = heard.length > 0 ? heard : [named ?? this.#everyInbox()]
    let isPicked = false
    for (const box of [named, every]) {
      if (box && !boxes.includes(box) && box.offer(letter)) isPicked = true
    }
    if (isPicked && heard.length === 0) return
    for (const box of boxes) box?.put(letter, letter.size)
  }

  /** Adds a listener. */
  add(heard: Mailed, taker: Taker<Value>): void {
    if (heard === EVERY) this.#handlesAll = true
    const inbox = heard === EVERY ? this.#everyInbox() : this.#namedInbox(heard)
    if (!inbox.heard) {
      this.#gather(heard, inbox)
      inbox.since = this.#next
      if (this.#ended) inbox.end()
    }
    inbox.add(taker)
  }

  /** Removes a listener; what only it still had to take waits for the next one. */
  remove(heard: Mailed, taker: Taker<Value>): void {
    const inbox = heard === EVERY ? this.#every : this.#named?.get(heard)
    if (!inbox) return
    inbox.remove(taker)
    if (inbox.isResumable) afterTurn(() => this.#settle(heard, inbox))
    else this.#settle(heard, inbox)
  }

  /** Lets what an inbox without a listener has left wait for the next one. */
  #settle(heard: Mailed, inbox: Box<Value>): void {
    if (isHeard(inbox)) return
    const others = ({ event }: Value): Box<Value> | undefined =>
      heard === EVERY ? this.#named?.get(event) : this.#every
    const left = inbox.drain().filter((letter) => !hasGot(others(letter), letter))
    for (const letter of left) inbox.put(letter, letter.size)
    if (heard !== EVERY && left.length === 0) this.#forget(heard)
    this.changed()
  }

  /** Lets a listener have its next letter. */
  resume(heard: Mailed, taker: Taker<Value>): void {
    const inbox = heard === EVERY ? this.#every : this.#named?.get(heard)
    if (inbox) inbox.resume(taker)
  }

  /** Says that nothing more will come: each listener is told after its last letter. */
  end(): void {
    this.#ended = true
    for (const inbox of this.#inboxes()) inbox.end()
    this.changed()
  }

  /** Throws away what waits, and counts it. */
  clear(): number {
    let count = 0
    for (const inbox of this.#inboxes()) count += inbox.drain().length
    this.changed()
    return count
  }

  /** Is what inboxes call when what waits has changed. */
  changed(): void {
    let [waiting, messages, bytes] = [0, 0, 0]
    // After the end, what has no listener waits only for a program that has kept the channel.
    const countsUnheard = this.#tally.countsUnheard && !this.#ended
    for (const inbox of this.#inboxes()) {
      if (inbox.heard) waiting += inbox.waiting
      if (!inbox.heard && !countsUnheard) continue
      messages += inbox.waiting
      bytes += inbox.bytes
    }
    if (waiting === this.#waiting && messages === this.#messages && bytes === this.#bytes) return
    const more = [messages - this.#messages, bytes - this.#bytes] as const
    this.#waiting = waiting
    this.#messages = messages
    this.#bytes = bytes
    this.#tally.tally(...more)
  }

  /** Brings what waits for want of a listener to the first one who hears of it. */
  #gather(heard: Mailed, inbox: Box<Value>): void {
    const letters = inbox.drain()
    if (heard === EVERY) {
      for (const [event, named] of this.#named ?? []) {
        if (named.heard) continue
        for (const letter of named.drain()) letters.push(letter)
        this.#named?.delete(event)
      }
    } else if (this.#every && !this.#every.heard && this.#every.waiting > 0) {
      const every = this.#every
      for (const letter of every.drain()) {
        if (letter.event === heard) letters.push(letter)
        else every.put(letter, letter.size)
      }
    }
    letters.sort((one, other) => one.number - other.number)
    for (const letter of letters) inbox.put(letter, letter.size)
  }

  /** Lets go of the inbox of an event, which counts as handled all the same. */
  #forget(event: string): void {
    this.#named?.delete(event)
    if (!this.#tally.countsUnheard) return // a client, which refuses nothing
    this.#former ??= new Set()
    if (this.#former.size < MOST_FORMER) this.#former.add(event)
    else this.#handlesAll = true // a program that listens to so many may listen to any
  }

  #everyInbox(): Box<Value> {
    return (this.#every ??= new Box<Value>(this))
  }

  #namedInbox(event: string): Box<Value> {
    const named = (this.#named ??= new Map<string, Box<Value>>())
    const inbox = named.get(event) ?? new Box<Value>(this)
    named.set(event, inbox)
    return inbox
  }

  #inboxes(): Box<Value>[] {
    const named = this.#named ? [...this.#named.values()] : []
    return this.#every ? [this.#every, ...named] : named
  }
}

/** Whether an inbox takes what comes; one that was left in this turn may be listened to again. */
function isHeard(
  box: { readonly heard: boolean; readonly isResumable: boolean } | undefined,
): boolean {
  return box !== undefined && (box.heard || box.isResumable)
}

/** Whether a letter went to others, too: they must have listened when it came. */
function hasGot<Value extends Letter>(box: Box<Value> | undefined, { number }: Value): boolean {
  return box?.heard === true && number >= box.since
}
