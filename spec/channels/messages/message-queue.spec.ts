import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  ANY_EVENT,
  MessageQueue,
  type QueuedMessage,
  type EventFilter,
} from '../../../lib/channels/messages/message-queue.ts'
import type { Consumer } from '../../../lib/events/consumer.ts'
import { Random } from '../../support/channels/random.ts'

/** A mail, and what waits in it as its owner was told. */
class Post {
  readonly countsUnlistened: boolean
  waiting = 0
  bytes = 0
  readonly mail = new MessageQueue<QueuedMessage>(this)
  #count = 0

  constructor(countsUnlistened = true) {
    this.countsUnlistened = countsUnlistened
  }

  addBacklog(waiting: number, bytes: number): void {
    this.waiting += waiting
    this.bytes += bytes
  }

  put(event: string): number {
    this.mail.enqueue({ event, size: 3, number: this.#count })
    return this.#count++
  }
}

/** Takes what it is given, one at a time where it is slow. */
class Reader implements Consumer<QueuedMessage> {
  cursor = 0
  isBusy = false
  readonly taken: number[] = []
  done: (() => void) | undefined
  readonly #slow: boolean

  constructor(slow = false) {
    this.#slow = slow
  }

  deliver({ number }: QueuedMessage): Promise<void> | undefined {
    this.taken.push(number)
    return this.#slow ? new Promise((resolve) => (this.done = resolve)) : undefined
  }

  onEnd(): void {
    this.taken.push(-1)
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('what waits is counted with its bytes, with a listener or without', async () => {
  const post = new Post()
  post.put('a')
  post.put('b')
  assert.deepEqual([post.waiting, post.bytes], [2, 6])
  const slow = new Reader(true)
  post.mail.add('a', slow)
  await turn()
  post.put('a')
  assert.deepEqual([slow.taken, post.waiting, post.bytes], [[0], 2, 6])
  slow.done?.()
  await turn()
  post.mail.add(ANY_EVENT, new Reader())
  await turn()
  assert.deepEqual([slow.taken, post.waiting, post.bytes], [[0, 2], 0, 0])
})

test('after the end, listeners take what is left and are told', async () => {
  const post = new Post()
  post.put('a')
  post.put('b')
  post.mail.end()
  assert.equal(post.bytes, 0)
  const [named, every] = [new Reader(), new Reader()]
  post.mail.add('a', named)
  post.mail.add(ANY_EVENT, every)
  await turn()
  assert.deepEqual(
    [named.taken, every.taken],
    [
      [0, -1],
      [1, -1],
    ],
  )
})

test('300,000 letters of an event that is heard by its name and by every one are all taken', async () => {
  const post = new Post()
  const reader = new Reader()
  post.mail.add('a', reader)
  await turn()
  post.mail.remove('a', reader)
  const slow = new Reader(true)
  post.mail.add('a', slow)
  await turn()
  for (let count = 0; count < 300_000; count++) post.put('a')
  post.mail.remove('a', slow)
  const every = new Reader()
  post.mail.add(ANY_EVENT, every)
  await turn()
  assert.equal(slow.taken.length + every.taken.length, 300_000)
})

test('letters whose event never had a listener can be taken out, and no others', async () => {
  const post = new Post()
  for (const event of ['a', 'b', 'c']) post.put(event)
  const reader = new Reader()
  post.mail.add('a', reader)
  await turn()
  post.mail.remove('a', reader)
  post.put('a')
  assert.deepEqual(
    post.mail.takeUnhandled().map(({ event }) => event),
    ['b', 'c'],
  )
  assert.deepEqual([post.mail.handles('a'), post.mail.handles('b'), post.bytes], [true, false, 3])
  post.mail.add(ANY_EVENT, reader)
  await turn()
  assert.deepEqual(reader.taken, [0, 3])
  assert.equal(post.mail.handles('b'), true)
  assert.deepEqual(post.mail.takeUnhandled(), [])
})

test('however listeners come and go, one of them takes each message, in order', async (context) => {
  const random = new Random()
  context.diagnostic(`seed ${random.seed}`)
  for (let round = 0; round < 200; round++) {
    const post = new Post()
    const readers: [heard: EventFilter, reader: Reader][] = []
    const gone: Reader[] = []
    let count = 0
    for (let step = 0; step < 40; step++) {
      const choice = random.below(6)
      if (choice < 3) {
        post.put(random.pick(['a', 'b', 'c']))
        count += 1
      } else if (choice < 5 || readers.length === 0) {
        const heard = random.pick<EventFilter>(['a', 'b', ANY_EVENT])
        const reader = new Reader()
        post.mail.add(heard, reader)
        readers.push([heard, reader])
      } else {
        const [one] = readers.splice(random.below(readers.length), 1)
        if (one) post.mail.remove(...one)
        if (one) gone.push(one[1])
      }
      if (random.below(2) === 0) await turn()
    }
    await turn()
    const ears: readonly EventFilter[] = [ANY_EVENT, 'a', 'b', 'c']
    const last = ears.map((heard) => {
      const reader = new Reader()
      post.mail.add(heard, reader)
      return reader
    })
    await turn()
    const all = [...readers.map(([, reader]) => reader), ...gone, ...last]
    const taken = new Set(all.flatMap((reader) => reader.taken))
    assert.deepEqual(
      [...taken].sort((one, other) => one - other),
      [...Array(count).keys()],
    )
    for (const { taken: own } of all) {
      assert.deepEqual(
        own,
        [...own].sort((one, other) => one - other),
      )
      assert.equal(new Set(own).size, own.length)
    }
    assert.deepEqual([post.waiting, post.bytes], [0, 0])
  }
})

test('1,000 names of events that were listened to are kept, and then all count as handled', () => {
  const { mail } = new Post()
  for (let count = 0; count <= 1_000; count++) {
    assert.equal(mail.handles('other'), false, `${count} names`)
    const reader = new Reader()
    mail.add(`event ${count}`, reader)
    mail.remove(`event ${count}`, reader)
    assert.equal(mail.handles(`event ${count}`), true)
  }
  assert.equal(mail.handles('other'), true)
})

test('a client, which refuses nothing, keeps no name of an event that was listened to', () => {
  const { mail } = new Post(false)
  const reader = new Reader()
  mail.add('a', reader)
  mail.remove('a', reader)
  assert.equal(mail.handles('a'), false)
})
