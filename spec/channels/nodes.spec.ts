import assert from 'node:assert/strict'
import { mock, test, type TestContext } from 'node:test'
import { memoryBackplane, type Backplane } from 'simplewebsockets'
import { Nodes, type View } from '../../lib/channels/nodes.ts'
import { Roster, type Change } from '../../lib/channels/roster.ts'
import { Relay } from '../../lib/relay.ts'

const HEARTBEAT = 1_000

/** Lets what was put off to the end of the turn happen, and what that puts off. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** A node: who is here, and whom it sees elsewhere. */
class Place implements View {
  readonly id: string
  readonly heartbeat = HEARTBEAT
  readonly seen = new Set<string>()
  readonly nodes: Nodes
  drops = 0
  readonly #own = new Roster()

  constructor(id: string, backplane: Backplane) {
    this.id = id
    const relay = new Relay(backplane, { failed: () => {}, dropped: () => this.dropped() })
    this.nodes = new Nodes(relay, 'room:*', this)
  }

  own(): Map<string, Roster> {
    return new Map([['room:1', this.#own]])
  }

  changed(_: string, joins: readonly Change[], leaves: readonly Change[]): void {
    for (const [key] of joins) this.seen.add(key)
    for (const [key] of leaves) this.seen.delete(key)
  }

  dropped(): void {
    this.drops++
  }

  join(key: string): void {
    const change: Change = [key, [{ phx_ref: `${this.id}${key}` }]]
    this.#own.join(...change)
    this.nodes.tell('room:1', [change], [])
  }
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

test('who is on one node is seen on the others, and who was there before, too', async () => {
  const backplane = memoryBackplane()
  const one = new Place('one', backplane)
  one.join('ann')
  const other = new Place('other', backplane)
  other.join('bob')
  await turns()
  assert.deepEqual([[...one.seen], [...other.seen]], [['bob'], ['ann']])
  for (const { nodes } of [one, other]) nodes.stop()
})

test('who says goodbye is gone at once, and comes again when it starts anew', async () => {
  const backplane = memoryBackplane()
  const [one, other] = [new Place('one', backplane), new Place('other', backplane)]
  one.join('ann')
  await turns()
  one.nodes.stop()
  one.nodes.stop()
  await turns()
  assert.deepEqual([...other.seen], [])
  one.nodes.start()
  await turns()
  assert.deepEqual([...other.seen], ['ann'])
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

test('whoever has missed a change asks for all', async () => {
  const { wire, cut } = cuttable(memoryBackplane())
  const [one, other] = [new Place('one', wire), new Place('other', wire)]
  await turns()
  cut(true)
  one.join('ann')
  cut(false)
  one.join('bob')
  one.join('eve')
  await turns()
  assert.deepEqual([...other.seen].sort(), ['ann', 'bob', 'eve'])
  for (const { nodes } of [one, other]) nodes.stop()
})

const sound = { id: 'x', version: 1, beat: 1_000, topic: 'room:1', joins: {}, leaves: {} }

/** A word with a list of so many levels in it. */
const deep = (levels: number): string =>
  JSON.stringify(sound).replace(
    '"joins":{',
    `"joins":{"x":${'['.repeat(levels)}${']'.repeat(levels)}`,
  )
for (const [what, kind, value] of [
  ['is no JSON', 1, '{'],
  ['is not UTF-8', 1, '\xff'],
  ['nests deeper than a peer may', 1, deep(600)],
  ['nests deeper than any stack', 2, deep(100_000)],
  ['is a list', 1, []],
  ['has no id', 1, { ...sound, id: 5 }],
  ['has a long id', 1, { ...sound, id: 'x'.repeat(65) }],
  ['has no version', 1, { ...sound, version: '1' }],
  ['has half a version', 1, { ...sound, version: 1.5 }],
  ['has a version below 0', 1, { ...sound, version: -1 }],
  ['has no beat', 1, { ...sound, beat: null }],
  ['has a beat of 0', 1, { ...sound, beat: 0 }],
  ['has a beat of a year', 1, { ...sound, beat: 3e10 }],
  ['is of no kind', 9, sound],
  ['changes no topic', 1, { ...sound, topic: 5 }],
  ['changes nothing', 1, { ...sound, joins: 5 }],
  ['tells no topics', 2, { ...sound, topics: 5 }],
  ['tells of nobody', 2, { ...sound, topics: { 'room:1': 5 } }],
] as [string, number, unknown][]) {
  test(`a word of another node that ${what} is dropped and counted`, async () => {
    const backplane = memoryBackplane()
    const place = new Place('one', backplane)
    const relay = new Relay(backplane, { failed: () => {}, dropped: () => {} })
    const text = typeof value === 'string' ? value : JSON.stringify(value)
    relay.publish('presence:room:*', kind, Buffer.from(text, 'latin1'))
    await turns()
    assert.equal(place.drops, 1)
    assert.equal(place.seen.size, 0)
    place.nodes.stop()
  })
}
