import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { amber, phoenix, phoenixV1, type Serializer } from 'simplewebsockets/channels'
import { EncodedState } from '../../../lib/channels/presence/encoded-state.ts'
import { PresenceState, type Diff } from '../../../lib/channels/presence/presence-state.ts'

const NAMES = ['ann', 'bob', '__proto__', '7', 'half \ud800']

function stage(): {
  roster: PresenceState
  state: EncodedState
  change: (diff: Partial<Diff>) => void
} {
  const roster = new PresenceState()
  const state = new EncodedState(roster)
  const change = (diff: Partial<Diff>): void => {
    const whole = { joins: [], leaves: [], ...diff }
    roster.syncDiff(whole)
    state.changed(whole)
  }
  change({ joins: NAMES.map((key) => [key, [{ phx_ref: key, at: 1 }]]) })
  return { roster, state, change }
}

/** Returns what a message tells, as a client of its dialect reads it. */
function told(state: EncodedState, serializer: Serializer, joinRef: string | null): unknown {
  const message = state.messageFor(serializer, 'room:1', joinRef)
  assert.ok(message)
  const { kind, topic, ...frame } = serializer.client.decode(message.data) as unknown as Record<
    string,
    unknown
  >
  assert.deepEqual([kind, topic, frame.event], ['push', 'room:1', 'presence_state'])
  return [frame.joinRef, frame.payload]
}

const metasOf = (names: readonly string[]): unknown =>
  Object.fromEntries(names.map((name) => [name, { metas: [{ phx_ref: name, at: 1 }] }]))

/** A dialect of an application's own, which knows nothing of payloads that are JSON already. */
const own: Serializer = {
  ...phoenix,
  server: { ...phoenix.server, encode: (frame) => phoenix.server.encode(frame) },
}

for (const serializer of [phoenix, phoenixV1, amber, own]) {
  test(`${serializer === own ? 'a dialect of your own' : serializer.name}: says all keys, as they are now`, () => {
    const { state, change } = stage()
    const joinRef = serializer === phoenix || serializer === own ? '3' : null
    assert.deepEqual(told(state, serializer, joinRef), [joinRef, metasOf(NAMES)])
    change({ leaves: [['ann', [{ phx_ref: 'ann' }]]] })
    assert.deepEqual(told(state, serializer, joinRef), [joinRef, metasOf(NAMES.slice(1))])
    change({ joins: [['cid', [{ phx_ref: 'cid', at: 1 }]]] })
    const now = [...NAMES.slice(1), 'cid']
    assert.deepEqual(told(state, serializer, joinRef), [joinRef, metasOf(now)])
    change({ leaves: now.map((name) => [name, [{ phx_ref: name }]]) })
    assert.deepEqual(told(state, serializer, joinRef), [joinRef, {}])
  })
}

test('is one message for all of a dialect and a join_ref, until it changes', () => {
  const { state, change } = stage()
  const of = (serializer: Serializer, joinRef: string | null): unknown =>
    state.messageFor(serializer, 'room:1', joinRef)
  const [first, second, old] = [of(phoenix, '1'), of(phoenix, '2'), of(phoenixV1, '1')]
  assert.notEqual(first, second)
  assert.equal(of(phoenix, '1'), first)
  assert.equal(of(phoenix, '2'), second)
  assert.equal(of(phoenixV1, '2'), old) // it doesn't say the join_ref
  change({ joins: [['ann', [{ phx_ref: 'again' }]]] })
  assert.notEqual(of(phoenix, '1'), first)
})

test('keeps four messages, and writes only keys that have changed', (t) => {
  const { state, change } = stage()
  const first = state.messageFor(phoenix, 'room:1', '1')
  for (const ref of ['2', '3', '4', '5']) state.messageFor(phoenix, 'room:1', ref)
  assert.notEqual(state.messageFor(phoenix, 'room:1', '1'), first)
  change({ joins: [['ann', [{ phx_ref: 'again' }]]] })
  const stringify = mock.method(JSON, 'stringify')
  t.after(() => stringify.mock.restore())
  state.messageFor(phoenix, 'room:1', '1')
  const metas = stringify.mock.calls.filter(({ arguments: [value] }) => Object(value) === value)
  assert.deepEqual(
    metas.map(({ arguments: [value] }) => value as unknown),
    [{}, { metas: [{ phx_ref: 'ann', at: 1 }, { phx_ref: 'again' }] }],
  )
})

test('is nothing in a dialect without words for it', () => {
  const { state } = stage()
  const mute: Serializer = { ...own, server: { ...own.server, encode: () => undefined } }
  assert.equal(state.messageFor(mute, 'room:1', '1'), undefined)
})
