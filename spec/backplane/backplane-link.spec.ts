import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { memoryBackplane, type Backplane } from '../../lib/backplane/backplane.ts'
import type { WebsocketError } from '../../lib/errors.ts'
import { HEADER_LENGTH, BackplaneLink } from '../../lib/backplane/backplane-link.ts'

/** Lets what was put off to the end of the turn happen. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

interface End {
  readonly relay: BackplaneLink
  readonly errors: WebsocketError[]
  readonly heard: string[]
  dropped: number
}

/** A relay that hears a topic. */
function end(backplane: Backplane | undefined, topic = 'news'): End {
  const errors: WebsocketError[] = []
  const relay = new BackplaneLink(
    backplane,
    (error) => void errors.push(error),
    () => {
      own.dropped++
    },
  )
  const own: End = { relay, errors, heard: [], dropped: 0 }
  relay.subscribe(topic, (kind, payload) => void own.heard.push(`${kind} ${payload.join()}`))
  return own
}

const payload = (...bytes: number[]): Uint8Array => Uint8Array.from(bytes)

test('the others hear what is published, its own node does not', async () => {
  const backplane = memoryBackplane()
  const [one, other] = [end(backplane), end(backplane)]
  one.relay.publish('news', 7, payload(1, 2))
  other.relay.publish('news', 8, payload())
  await turn()
  assert.deepEqual([one.heard, other.heard], [['8 '], ['7 1,2']])
  assert.deepEqual([one.dropped, other.dropped], [0, 0])
})

test('one publish carries a message, however many members hear it', async () => {
  const backplane = memoryBackplane()
  let published = 0
  const counting: Backplane = {
    ...backplane,
    publish: (...message) => {
      published++
      return backplane.publish(...message)
    },
  }
  const [one, ...others] = Array.from({ length: 10 }, () => end(counting))
  one?.relay.publish('news', 0, payload(1))
  await turn()
  assert.equal(published, 1)
  assert.ok(others.every(({ heard }) => heard.length === 1))
})

test('without a backplane nothing goes anywhere', () => {
  const alone = end(undefined)
  alone.relay.publish('news', 0, payload(1))
  alone.relay.listen(() => assert.fail('there is nothing to hear of'))
  assert.equal(alone.relay.isClustered, false)
  assert.deepEqual([alone.heard, alone.dropped, alone.errors], [[], 0, []])
})

/** A message as another node would send it. */
function messageOf(sender: number, number: number, kind = 1): Uint8Array {
  const message = Buffer.alloc(HEADER_LENGTH + 1, sender)
  message[0] = kind
  message.writeUIntBE(number, 17, 6)
  return message
}

for (const [what, messages, heard, dropped] of [
  ['comes twice', [messageOf(5, 1), messageOf(5, 1)], 1, 1],
  ['comes a hundred times', Array.from({ length: 100 }, () => messageOf(5, 9)), 1, 99],
  ['comes after a later one', [messageOf(5, 2), messageOf(5, 1), messageOf(5, 3)], 2, 1],
  ['has number 0', [messageOf(5, 0)], 0, 1],
  ['is empty', [new Uint8Array()], 0, 1],
  ['is a byte', [payload(1)], 0, 1],
  ['ends before its number does', [messageOf(5, 1).subarray(0, HEADER_LENGTH - 1)], 0, 1],
  ['has the highest number, and then one more', [messageOf(5, 2 ** 48 - 1), messageOf(5, 1)], 1, 1],
] as [string, Uint8Array[], number, number][]) {
  test(`a message on the channel that ${what} is dropped and counted`, async () => {
    const backplane = memoryBackplane()
    const { heard: got, ...here } = end(backplane)
    const own = end(backplane)
    for (const message of messages) void backplane.publish('news', message)
    void backplane.publish('news', messageOf(6, 1, 2))
    await turn()
    assert.equal(own.heard.length, heard + 1, 'the next sender is heard')
    assert.equal(own.dropped, dropped)
    assert.equal(got.length, heard + 1)
    assert.deepEqual(here.errors, [])
  })
}

test('senders are remembered, but not without end', async () => {
  const backplane = memoryBackplane()
  const own = end(backplane)
  const message = (sender: number): Uint8Array => {
    const bytes = messageOf(0, 1)
    Buffer.from(bytes.buffer, bytes.byteOffset).writeUInt32BE(sender, 1)
    return bytes
  }
  for (let sender = 1; sender <= 1_001; sender++) void backplane.publish('news', message(sender))
  void backplane.publish('news', message(1_001))
  void backplane.publish('news', message(1)) // the first is forgotten by now
  await turn()
  assert.equal(own.heard.length, 1_002)
  assert.equal(own.dropped, 1)
})

test('what a backplane does not take is counted, and what it refuses is told and counted', async () => {
  const backplane = memoryBackplane()
  const full = end({ ...backplane, publish: () => false })
  full.relay.publish('news', 0, payload(1))
  assert.deepEqual([full.dropped, full.errors.length], [1, 0])
  const broken = end({ ...backplane, publish: () => Promise.reject(new Error('boom')) })
  broken.relay.publish('news', 0, payload(1))
  await turn()
  assert.equal(broken.errors[0]?.message, 'the backplane failed')
  assert.equal(broken.dropped, 1)
})

test('a backplane that fails is told once until it works again, and then with the count', async () => {
  const backplane = memoryBackplane()
  let isBroken = true
  const own = end({
    ...backplane,
    publish: (...message) =>
      isBroken ? Promise.reject(new Error('boom')) : backplane.publish(...message),
  })
  for (let count = 0; count < 100; count++) own.relay.publish('news', 0, payload(1))
  await turn()
  isBroken = false
  for (let count = 0; count < 2; count++) own.relay.publish('news', 0, payload(1))
  assert.deepEqual(
    own.errors.map(({ message }) => message),
    ['the backplane failed', 'the backplane works again: 100 messages to other nodes were lost'],
  )
  assert.equal(own.dropped, 100)
})

/** A backplane that fails to subscribe so many times. */
function failing(times: number, fail: () => never | Promise<never>): Backplane & { tried: number } {
  const memory = memoryBackplane()
  const backplane = {
    ...memory,
    tried: 0,
    subscribe(...given: Parameters<Backplane['subscribe']>) {
      backplane.tried++
      return backplane.tried > times ? memory.subscribe(...given) : fail()
    },
  }
  return backplane
}

for (const [manner, fail] of [
  ['rejects', () => Promise.reject(new Error('boom'))],
  [
    'throws',
    () => {
      throw new Error('boom')
    },
  ],
] as [string, () => never | Promise<never>][]) {
  test(`a subscription that ${manner} is tried again, told once, and hears then`, async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const backplane = failing(3, fail)
    const own = end(backplane)
    for (let tries = 1; tries < 4; tries++) {
      await turn()
      assert.equal(backplane.tried, tries)
      t.mock.timers.tick(30_000) // the longest wait
    }
    await turn()
    assert.equal(backplane.tried, 4)
    assert.deepEqual(
      own.errors.map(({ cause }) => (cause as Error).message),
      ['boom'],
    )
    void backplane.publish('news', messageOf(5, 1))
    await turn()
    assert.equal(own.heard.length, 1)
  })

  test(`a subscription that ${manner} is tried no more once it has ended`, async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const backplane = failing(1, fail)
    const relay = new BackplaneLink(
      backplane,
      () => {},
      () => {},
    )
    const close = relay.subscribe('news', () => assert.fail('it has ended'))
    await turn()
    close()
    t.mock.timers.tick(30_000)
    await turn()
    assert.equal(backplane.tried, 1)
  })
}

test('a handler that throws is told and counted, and hears the next message', async () => {
  const backplane = memoryBackplane()
  const errors: WebsocketError[] = []
  const [dropped, handled] = [mock.fn(), mock.fn()]
  const relay = new BackplaneLink(backplane, (error) => void errors.push(error), dropped)
  relay.subscribe('news', (kind) => {
    if (kind === 1) throw new Error('boom')
    handled()
  })
  void backplane.publish('news', messageOf(5, 1))
  void backplane.publish('news', messageOf(5, 2, 2))
  await turn()
  assert.equal(errors[0]?.message, 'a message from another node on `news` could not be handled')
  assert.equal((errors[0].cause as Error).message, 'boom')
  assert.deepEqual([errors.length, dropped.mock.callCount(), handled.mock.callCount()], [1, 1, 1])
})
