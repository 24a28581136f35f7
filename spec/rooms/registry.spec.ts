import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import {
  listen,
  memoryBackplane,
  once,
  type Backplane,
  type WebsocketConnection,
} from 'simplewebsockets'
import { pair } from 'simplewebsockets/testing'
import { PreparedMessage } from '../../lib/connection/message.ts'
import { RoomRegistry, type RoomRegistryOwner } from '../../lib/rooms/registry.ts'

type Registry = RoomRegistry<WebsocketConnection>

/** Lets what was put off to the end of the turn happen. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** A registry without a server. */
function makeRegistry(parts: Partial<RoomRegistryOwner<WebsocketConnection>> = {}): Registry {
  return new RoomRegistry({
    backplane: undefined,
    prepare: (data) => new PreparedMessage(data),
    reportError: () => false,
    reportFailure: () => {},
    countDrop: () => {},
    onMembershipChange: () => {},
    ...parts,
  })
}

/** A new client. */
function admitTo(registry: Registry): WebsocketConnection {
  const [client] = pair()
  registry.admit(client)
  return client
}

/** Whether a room is in use. */
const isKept = (registry: Registry, topic: string): boolean =>
  registry.get(topic) === registry.get(topic)

test('the state of a room goes when it is empty and has no listener', async () => {
  let subscriptions = 0
  const backplane: Backplane = {
    ...memoryBackplane(),
    subscribe() {
      subscriptions++
      return () => {
        subscriptions--
      }
    },
  }
  const registry = makeRegistry({ backplane })
  const [member] = pair()
  for (let number = 0; number < 10_000; number++) {
    registry.admit(member)
    const topic = `room:game ${number}`
    const room = registry.room(`game ${number}`)
    room.emit('to nobody')
    assert.deepEqual([room.size, room.has(member), [...room]], [0, false, []])
    assert.equal(isKept(registry, topic), false)
    room.add(member)
    assert.equal(isKept(registry, topic), true)
    if (number % 2 === 0) room.delete(member)
    else registry.removeFromAll(member)
    assert.equal(isKept(registry, topic), false)
    const unlisten = listen(room, number % 2 === 0 ? 'join' : 'leave', () => {})
    assert.equal(isKept(registry, topic), true)
    unlisten()
    assert.equal(isKept(registry, topic), false)
    registry.removeFromAll(member)
  }
  await turn()
  assert.equal(subscriptions, 0)
})

test('a room is kept while a once waits for it, and goes with its signal', async () => {
  const registry = makeRegistry()
  const stopper = new AbortController()
  const wait = once(registry.room('lobby'), 'join', { signal: stopper.signal })
  assert.ok(isKept(registry, 'room:lobby'))
  stopper.abort()
  assert.ok(!isKept(registry, 'room:lobby'))
  await assert.rejects(wait, { name: 'AbortError' })
})

test('handles of one name are one room, also after the room was released', () => {
  const registry = makeRegistry()
  const handles = [registry.room('lobby'), registry.room('lobby')] as const
  const member = admitTo(registry)
  for (const [one, other] of [handles, [...handles].reverse()] as (typeof handles)[]) {
    one.add(member)
    assert.deepEqual([[...one], [...other]], [[member], [member]])
    assert.ok(other.delete(member))
    assert.equal(one.delete(member), false)
    assert.equal(isKept(registry, 'room:lobby'), false)
  }
})

test('a client leaves all of its rooms at once, and a client in no room leaves none', () => {
  const changes: unknown[] = []
  const registry = makeRegistry({
    onMembershipChange: (change, { name }) => void changes.push([change, name]),
  })
  const [one, other] = [admitTo(registry), admitTo(registry)]
  changes.length = 0
  for (const name of ['a', 'b', 'c']) registry.room(name).add(one)
  registry.room('b').delete(one)
  registry.room('c').add(other)
  changes.length = 0
  registry.removeFromAll(one)
  registry.removeFromAll(one)
  registry.removeFromAll(pair()[0])
  assert.deepEqual(changes, [
    ['leave', undefined],
    ['leave', 'a'],
    ['leave', 'c'],
  ])
  assert.deepEqual([...registry.clients(), ...registry.room('c')], [other, other])
  registry.end()
})

test('a room that the program names takes clients only, and other rooms what fills them', () => {
  const registry = makeRegistry()
  const [stranger] = pair()
  assert.throws(() => registry.room('lobby').add(stranger), TypeError)
  assert.equal(isKept(registry, 'room:lobby'), false)
  registry.get('topic:lobby').add(stranger)
  assert.ok(registry.get('topic:lobby').delete(stranger))
})

test('a failure to subscribe that empties the room ends its subscription', async () => {
  let subscriptions = 0
  const backplane: Backplane = {
    ...memoryBackplane(),
    subscribe() {
      if (subscriptions++ === 0) throw new Error('broken')
      return () => {}
    },
  }
  const [member] = pair()
  const reports: string[] = []
  const registry = makeRegistry({
    backplane,
    reportFailure: ({ code }) => {
      reports.push(code)
      registry.removeFromAll(member)
    },
  })
  mock.timers.enable({ apis: ['setTimeout'] })
  try {
    registry.admit(member)
    await turn()
    assert.deepEqual(reports, ['ERR_BACKPLANE_FAILED'])
    mock.timers.tick(60_000)
    assert.equal(subscriptions, 1)
  } finally {
    mock.timers.reset()
  }
})
