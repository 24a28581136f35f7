import assert from 'node:assert/strict'
import { mock, test, type TestContext } from 'node:test'
import { memoryBackplane, type Backplane } from 'simplewebsockets'
import {
  PresenceReplicator,
  type PresenceSource,
} from '../../../lib/channels/presence/presence-replicator.ts'
import {
  decodeBroadcast,
  createBroadcast,
  type Broadcast,
} from '../../../lib/channels/protocol/broadcast.ts'
import { phoenix } from '../../../lib/channels/protocol/phoenix.ts'
import {
  PresenceState,
  type Change,
  type Diff,
} from '../../../lib/channels/presence/presence-state.ts'
import { BackplaneLink } from '../../../lib/backplane/backplane-link.ts'

const HEARTBEAT = 1_000
const STATE = 2 // the kind of what answers a node that asks

/** Lets what was put off to the end of the turn happen, and what that puts off. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** A node: the keys that are here, and the keys that it sees elsewhere. */
class Place implements PresenceSource {
  readonly id: string
  readonly heartbeat = HEARTBEAT
  readonly seen = new Set<string>()
  readonly said: string[] = []
  readonly nodes: PresenceReplicator
  drops = 0
  owned = 0
  readonly #own = new PresenceState()
  readonly #wakes = new Set<() => void>()

  constructor(id: string, backplane: Backplane) {
    this.id = id
    const relay = new BackplaneLink(
      backplane,
      () => {},
      () => this.countDrop(),
    )
    this.nodes = new PresenceReplicator(relay, 'room:*', this)
  }

  localState(): Map<string, PresenceState> {
    this.owned++
    return new Map([['room:1', this.#own]])
  }

  matches(topic: string): boolean {
    return topic.startsWith('room:')
  }

  read(data: string): Broadcast {
    return decodeBroadcast(phoenix, data)
  }

  onChange(_: string, { joins, leaves }: Diff, said?: Broadcast): void {
    if (said) this.said.push(String(said.data))
    for (const [key] of joins) this.seen.add(key)
    for (const [key] of leaves) this.seen.delete(key)
    for (const wake of this.#wakes) wake()
  }

  /** Resolves once it sees those, and no others. */
  async sees(...keys: string[]): Promise<void> {
    const alive = setInterval(() => {}, 1_000) // a node by itself keeps no process running
    while (String([...this.seen].sort()) !== String(keys)) {
      await new Promise<void>((resolve) => this.#wakes.add(resolve))
    }
    clearInterval(alive)
  }

  countDrop(): void {
    this.drops++
  }

  join(key: string): void {
    const change: Change = [key, [{ phx_ref: `${this.id}${key}` }]]
    this.#own.join(change)
    this.nodes.publishDiff(diffOf('room:1', { joins: { [key]: { metas: change[1] } }, leaves: {} }))
  }
}

/** Returns the diff that a node tells its members. */
function diffOf(topic: string, payload: unknown, event = 'presence_diff'): Broadcast {
  return createBroadcast(phoenix, { topic, event, payload })
}

/** A backplane whose wire may be cut. */
function cuttable(backplane: Backplane): { wire: Backplane; cut: (isCut: boolean) => void } {
  let isCut = false
  const wire: Backplane = {
    ...backplane,
    publish: (...message) => !isCut && backplane.publish(...message),
    subscribe: (topic, receive) =>
      backplane.subscribe(topic, (message) => {
        if (!isCut) receive(message)
      }),
  }
  return { wire, cut: (now) => (isCut = now) }
}

function timed(t: TestContext): (milliseconds: number) => Promise<void> {
  mock.timers.enable({ apis: ['setInterval', 'setTimeout'] })
  t.after(() => mock.timers.reset())
  return async (milliseconds) => {
    for (let passed = 0; passed < milliseconds; passed += HEARTBEAT / 2) {
      mock.timers.tick(HEARTBEAT / 2)
      await turns()
    }
  }
}

test('a member on one node is seen on the others, also one that was there before', async () => {
  const backplane = memoryBackplane()
  const one = new Place('one', backplane)
  one.join('ann')
  const other = new Place('other', backplane)
  other.join('bob')
  await turns()
  assert.deepEqual([[...one.seen], [...other.seen]], [['bob'], ['ann']])
  for (const { nodes } of [one, other]) nodes.stop()
})

test('a node that says goodbye is gone at once, and comes again when it starts anew', async () => {
  const backplane = memoryBackplane()
  const [one, other] = [new Place('one', backplane), new Place('other', backplane)]
  one.join('ann')
  await turns()
  one.nodes.stop()
  one.nodes.stop()
  await turns()
  assert.deepEqual([...other.seen], [])
  one.nodes.start()
  await other.sees('ann')
  for (const { nodes } of [one, other]) nodes.stop()
})

test('a node is there while it is heard, and gone before its third heartbeat of silence', async (t) => {
  const pass = timed(t)
  const { wire, cut } = cuttable(memoryBackplane())
  const [one, other] = [new Place('one', wire), new Place('other', wire)]
  one.join('ann')
  await turns()
  await pass(20 * HEARTBEAT)
  assert.deepEqual([...other.seen], ['ann'])
  cut(true)
  await pass(3 * HEARTBEAT)
  assert.deepEqual([...other.seen], [])
  one.join('eve')
  cut(false)
  await pass(HEARTBEAT)
  assert.deepEqual([...other.seen].sort(), ['ann', 'eve'])
  for (const { nodes } of [one, other]) nodes.stop()
})

test('a node that has missed a change asks for all', async () => {
  const { wire, cut } = cuttable(memoryBackplane())
  const [one, other] = [new Place('one', wire), new Place('other', wire)]
  await turns()
  cut(true)
  one.join('ann')
  cut(false)
  one.join('bob')
  one.join('eve')
  await other.sees('ann', 'bob', 'eve')
  for (const { nodes } of [one, other]) nodes.stop()
})

test('a node asks only once it would hear the answers', async () => {
  const backplane = memoryBackplane()
  const other = new Place('other', backplane)
  other.join('bob')
  let stands: () => void = () => {}
  const standing = new Promise<void>((resolve) => (stands = resolve))
  const asked: number[] = []
  const slow: Backplane = {
    ...backplane,
    publish: (topic, message) => {
      asked.push(message[0] ?? -1)
      return backplane.publish(topic, message)
    },
    // As a broker has it: nothing is heard before the subscription stands.
    subscribe: async (topic, receive) => {
      await standing
      return backplane.subscribe(topic, receive)
    },
  }
  const one = new Place('one', slow)
  await turns()
  assert.deepEqual([asked, [...one.seen]], [[], []])
  stands()
  await turns()
  assert.equal(asked[0], 3)
  assert.deepEqual([...one.seen], ['bob'])
  const gone = new Place('gone', slow)
  gone.nodes.stop()
  await turns()
  for (const { nodes } of [one, other]) nodes.stop()
})

test('a subscription that fails, or ends first, is asked for nothing', async () => {
  const asked: unknown[] = []
  const failing: Backplane = {
    publish: (_, message) => void asked.push(message[0]),
    subscribe: () => Promise.reject(new Error('no')),
    close: () => {},
  }
  const one = new Place('one', failing)
  await turns()
  const two = new Place('two', { ...failing, subscribe: () => Promise.resolve(() => {}) })
  two.nodes.stop()
  await turns()
  assert.deepEqual(asked, [4])
  one.nodes.stop()
})

test('a state of any size comes in parts, each once the broker has the one before', async () => {
  const backplane = memoryBackplane()
  const sizes: number[] = []
  let [underWay, most] = [0, 0]
  const paced: Backplane = {
    ...backplane,
    publish: async (topic, message) => {
      if (message[0] !== STATE) return backplane.publish(topic, message)
      most = Math.max(most, ++underWay)
      await turns()
      underWay--
      sizes.push(message.length)
      return backplane.publish(topic, message)
    },
  }
  const one = new Place('one', paced)
  const keys = Array.from({ length: 1_500 }, (_, index) => `${10_000 + index}${'x'.repeat(1_000)}`)
  for (const key of keys) one.join(key)
  const other = new Place('other', backplane)
  await other.sees(...keys)
  assert.equal(most, 1)
  assert.ok(sizes.length > 5 && Math.max(...sizes) < 300_000, `sizes ${String(sizes)}`)
  for (const { nodes } of [one, other]) nodes.stop()
})

test('a change that comes between the parts of a state is not lost', async () => {
  const backplane = memoryBackplane()
  const [pieces, held]: [number[], Parameters<Backplane['publish']>[]] = [[], []]
  let goOn = (): void => {}
  const slow: Backplane = {
    ...backplane,
    publish: (topic, message) => {
      if (message[0] !== STATE) return backplane.publish(topic, message)
      pieces.push(message.length)
      held.push([topic, message])
      return new Promise((resolve) => {
        goOn = () => resolve(backplane.publish(...(held.pop() ?? [topic, message])))
      })
    },
  }
  const one = new Place('one', slow)
  const keys = Array.from({ length: 600 }, (_, index) => `${10_000 + index}${'x'.repeat(1_000)}`)
  for (const key of keys) one.join(key)
  await turns()
  const other = new Place('other', backplane)
  await turns()
  one.join('late')
  one.join('later')
  const seen = other.sees(...keys, 'late', 'later')
  for (let parts = 0; parts < 5; parts++) {
    goOn()
    await turns()
  }
  await seen
  assert.ok(pieces.length > 2)
  for (const { nodes } of [one, other]) nodes.stop()
})

test('many nodes that ask at once share two answers, which are written once', async () => {
  const backplane = memoryBackplane()
  const answers: string[] = []
  const counting: Backplane = {
    ...backplane,
    publish: (topic, message) => {
      if (message[0] === STATE) answers.push(topic)
      return backplane.publish(topic, message)
    },
  }
  const one = new Place('one', counting)
  one.join('ann')
  await turns()
  const others = Array.from({ length: 20 }, (_, index) => new Place(`other${index}`, backplane))
  await Promise.all(others.map((other) => other.sees('ann')))
  assert.ok(answers.length <= 2, String(answers))
  assert.equal(one.owned, 1)
  for (const { nodes } of [one, ...others]) nodes.stop()
})

test('a change is told to members elsewhere in the very words of its own node', async () => {
  const backplane = memoryBackplane()
  const [one, other] = [new Place('one', backplane), new Place('other', backplane)]
  await turns()
  one.join('ann')
  await turns()
  const words =
    '[null,null,"room:1","presence_diff",{"joins":{"ann":{"metas":[{"phx_ref":"oneann"}]}},"leaves":{}}]'
  assert.deepEqual(other.said, [words])
  for (const { nodes } of [one, other]) nodes.stop()
})

const head = { id: 'x', version: 1, beat: 1_000 }
const nothing = { joins: {}, leaves: {} }
const behind = (said: Broadcast): string => `${JSON.stringify(head)}\n${said.data as string}`
const deep = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels)
const deepHead = (levels: number): string =>
  `{"id":"x","version":1,"beat":1000,"more":${deep(levels)}}`
const state = (topics: unknown): string =>
  `${JSON.stringify({ ...head, part: 0, last: true })}\n${JSON.stringify(topics)}`
for (const [what, kind, value] of [
  ['is no JSON', 1, '{'],
  ['is not UTF-8', 1, '\xff'],
  ['nests deeper than a peer may', 0, deepHead(600)],
  ['nests deeper than any stack', 2, deepHead(100_000)],
  [
    'changes what nests deeper than a peer may',
    1,
    `${JSON.stringify(head)}\n[null,null,"room:1","presence_diff",${deep(600)}]`,
  ],
  ['is a list', 1, []],
  ['has no id', 0, { ...head, id: 5 }],
  ['has a long id', 0, { ...head, id: 'x'.repeat(65) }],
  ['has no version', 0, { ...head, version: '1' }],
  ['has half a version', 0, { ...head, version: 1.5 }],
  ['has a version below 0', 0, { ...head, version: -1 }],
  ['has no beat', 0, { ...head, beat: null }],
  ['has a beat of 0', 0, { ...head, beat: 0 }],
  ['has a beat of a year', 0, { ...head, beat: 3e10 }],
  ['is of no kind', 9, head],
  ['changes nothing', 1, head],
  ['changes a topic of another pattern', 1, behind(diffOf('lobby', nothing))],
  ['changes half', 1, behind(diffOf('room:1', { joins: 5 }))],
  ['says something else', 1, behind(diffOf('room:1', nothing, 'evt'))],
  ['is cut short', 1, behind(diffOf('room:1', nothing)).slice(0, -1)],
  ['has a part without a place', 2, { ...head, part: '0' }],
  ['tells no topics', 2, state(5)],
  ['tells of no members', 2, state({ 'room:1': 5 })],
  ['tells of another pattern', 2, state({ lobby: {} })],
] as [string, number, unknown][]) {
  test(`a word of another node that ${what} is dropped and counted`, async () => {
    const backplane = memoryBackplane()
    const place = new Place('one', backplane)
    const relay = new BackplaneLink(
      backplane,
      () => {},
      () => {},
    )
    const text = typeof value === 'string' ? value : JSON.stringify(value)
    relay.publish('presence:room:*', kind, Buffer.from(text, 'latin1'))
    await turns()
    assert.equal(place.drops, 1)
    assert.equal(place.seen.size, 0)
    place.nodes.stop()
  })
}
