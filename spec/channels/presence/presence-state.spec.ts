import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  parseState,
  parseDiff,
  PresenceState,
  toWire,
  type AppliedChange,
} from '../../../lib/channels/presence/presence-state.ts'

const meta = (ref: string, more: object = {}): Record<string, unknown> => ({
  phx_ref: ref,
  ...more,
})

/** Says what was applied, by refs. */
function storyOf(applied: readonly AppliedChange[]): unknown[] {
  const refs = (metas: readonly Record<string, unknown>[]): unknown[] =>
    metas.map(({ phx_ref }) => phx_ref)
  return applied.map(({ kind: how, key, metas, others }) => [how, key, refs(metas), refs(others)])
}

test('a state is told as what is new, and then as what is gone', () => {
  const roster = new PresenceState()
  const applied: AppliedChange[] = []
  roster.syncState([
    ['ann', [meta('1'), meta('2')]],
    ['bob', [meta('3')]],
  ])
  roster.syncState(
    [
      ['ann', [meta('2'), meta('4')]],
      ['cid', [meta('5')]],
    ],
    applied,
  )
  assert.deepEqual(storyOf(applied), [
    ['join', 'ann', ['4'], ['1', '2']],
    ['join', 'cid', ['5'], []],
    ['leave', 'ann', ['1'], ['2', '4']],
    ['leave', 'bob', ['3'], []],
  ])
  assert.deepEqual(
    [...roster].map(([key, metas]) => [key, metas.length]),
    [
      ['ann', 2],
      ['cid', 1],
    ],
  )
})

test('what is told of a change stays as it was, whatever comes after it', () => {
  const roster = new PresenceState()
  const applied: AppliedChange[] = []
  roster.join(['ann', [meta('1'), meta('2')]], applied)
  roster.join(['ann', [meta('3')]], applied)
  roster.join(['ann', [meta('2', { again: true })]], applied)
  roster.leave(['ann', [meta('1'), meta('3')]], applied)
  roster.join(['ann', [meta('4'), meta('4')]])
  roster.leave(['ann', [meta('2')]], applied)
  assert.deepEqual(storyOf(applied), [
    ['join', 'ann', ['1', '2'], []],
    ['join', 'ann', ['3'], ['1', '2']],
    ['join', 'ann', ['2'], ['1', '2', '3']],
    ['leave', 'ann', ['1', '3'], ['2']],
    ['leave', 'ann', ['2'], ['4']],
  ])
  assert.deepEqual([roster.metaCount, roster.get('ann')], [1, [meta('4')]])
})

test('a key without a meta is not there', () => {
  const roster = new PresenceState()
  const applied: AppliedChange[] = []
  roster.syncDiff({ joins: [['ann', []]], leaves: [] }, applied)
  assert.deepEqual([roster.size, applied], [0, []])
})

test('joins come after those that are there, and one of the same ref takes its place', () => {
  const roster = new PresenceState()
  roster.join(['ann', [meta('1', { old: true }), meta('2')]])
  roster.join(['ann', [meta('3'), meta('1', { new: true })]])
  assert.deepEqual(roster.get('ann'), [meta('2'), meta('3'), meta('1', { new: true })])
})

test('unknown leaves are skipped, and a key without metas is gone', () => {
  const roster = new PresenceState()
  const applied: AppliedChange[] = []
  roster.join(['ann', [meta('1')]])
  roster.leave(['ann', [meta('9')]], applied)
  roster.leave(['nobody', [meta('1')]], applied)
  assert.deepEqual(applied, [])
  roster.leave(['ann', [meta('1')]], applied)
  assert.deepEqual([roster.size, storyOf(applied)], [0, [['leave', 'ann', ['1'], []]]])
})

test('what stands beside the metas of a key is that of its last join, until it is gone', () => {
  const roster = new PresenceState()
  const data = (said: string): unknown => parseState(JSON.parse(said))?.[0]?.[2]
  assert.equal(data('{"ann":{"metas":[]}}'), undefined)
  assert.deepEqual(data('{"ann":{"user":{"name":"Ann"},"metas":[]}}'), { user: { name: 'Ann' } })
  assert.equal(JSON.stringify(data('{"a":{"__proto__":1,"metas":[]}}')), '{"__proto__":1}')
  roster.join(['ann', [meta('1')], { n: 1 }])
  roster.join(['ann', [meta('2')], { n: 2 }])
  const applied: AppliedChange[] = []
  roster.syncState([['ann', [meta('1')], { n: 3 }]], applied)
  assert.deepEqual(roster.dataOf('ann'), { n: 2 })
  roster.leave(['ann', [meta('1')]], applied)
  assert.deepEqual(
    applied.map(({ data }) => data),
    [{ n: 2 }, { n: 2 }],
  )
  assert.deepEqual(roster.dataOf('ann'), {})
})

test('a key is a key, whatever it is called', () => {
  const keys = ['__proto__', 'constructor', 'toString', '', 'hasOwnProperty']
  const state = JSON.stringify(toWire(keys.map((key) => [key, [meta(key)]])))
  const changes = parseState(JSON.parse(state))
  assert.deepEqual(
    changes?.map(([key]) => key),
    keys,
  )
  const roster = new PresenceState()
  roster.syncState(changes ?? [])
  assert.deepEqual(
    [...roster].map(([key]) => key),
    keys,
  )
  assert.deepEqual(roster.get('valueOf'), [])
})

for (const wrong of [
  null,
  1,
  'a',
  [],
  { ann: null },
  { ann: {} },
  { ann: { metas: {} } },
  { ann: { metas: [1] } },
  { ann: { metas: [{ phx_ref: {} }] } },
  { ann: { metas: [{ phx_ref: [] }] } },
]) {
  test(`${JSON.stringify(wrong)} says nothing about presence`, () => {
    if (!Array.isArray(wrong) || wrong.length > 0) assert.equal(parseState(wrong), undefined)
    assert.equal(parseDiff({ joins: wrong, leaves: {} }), undefined)
    assert.equal(parseDiff(wrong), undefined)
  })
}

test('100,000 metas of one key, and a million keys, take no time that grows faster', () => {
  const roster = new PresenceState()
  for (let n = 0; n < 100_000; n++) roster.join(['ann', [meta(String(n))]])
  for (let n = 0; n < 100_000; n++) roster.leave(['ann', [meta(String(n))]])
  assert.equal(roster.size, 0)
  const many = Array.from({ length: 1_000_000 }, (_, n) => [String(n), [meta(String(n))]] as const)
  roster.syncState(many)
  assert.equal(roster.size, 1_000_000)
  roster.syncState([])
  assert.equal(roster.size, 0)
})
