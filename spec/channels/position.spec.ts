import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MOST_SENDERS, positionIn, seenIn, Trail, written } from '../../lib/channels/position.ts'

test('a position is read as it was written', () => {
  for (const position of [
    { sender: 'a-_Z', n: 1 },
    { sender: '__proto__', n: Number.MAX_SAFE_INTEGER },
  ]) {
    assert.deepEqual(positionIn({ $position: written(position) }), position)
  }
})

test('what is no position is none', () => {
  const texts = [
    '',
    'a',
    'a:',
    ':1',
    'a:0',
    'a:-1',
    'a:1.5',
    'a:1e3',
    'a:b:1',
    'a:9007199254740993',
  ]
  for (const $position of [...texts, `${'a'.repeat(65)}:1`, 5, null, {}, ['a:1']]) {
    assert.equal(positionIn({ $position }), undefined)
  }
  const others = [
    undefined,
    null,
    'a:1',
    [],
    new Uint8Array(1),
    Object.create({ $position: 'a:1' }),
  ]
  for (const payload of others as unknown[]) assert.equal(positionIn(payload), undefined)
})

test('what was seen is read, whatever its senders are called', () => {
  const payload: unknown = JSON.parse('{"$seen":{"__proto__":3,"constructor":0,"a":7}}')
  const seen = seenIn(payload)
  assert.deepEqual(seen && [...seen], [
    ['__proto__', 3],
    ['constructor', 0],
    ['a', 7],
  ])
})

test('nothing is asked for where nothing is said of it', () => {
  for (const payload of [undefined, null, 'x', 5, [], {}, { $seen: null }, new Uint8Array(1)]) {
    assert.equal(seenIn(payload), undefined)
  }
})

test('what makes no sense is nothing seen', () => {
  const many = Object.fromEntries(Array.from({ length: MOST_SENDERS + 1 }, (_, n) => [`s${n}`, n]))
  const wrong = [5, 'x', true, [], [['a', 1]], many, { a: '1' }, { a: -1 }, { a: 1.5 }, { a: null }]
  for (const $seen of [...wrong, { a: 1, b: {} }, { ['a'.repeat(65)]: 1 }, { a: 2 ** 60 }]) {
    assert.deepEqual(seenIn({ $seen }), new Map())
  }
})

test('a trail says nothing before a server has told of positions', () => {
  const trail = new Trail()
  assert.deepEqual(trail.asking({ name: 'ann' }), { name: 'ann' })
  assert.deepEqual(trail.joined({ hello: 'ann' }), { hello: 'ann' })
  const payload = { $position: 'a:1' } // of an application's own
  assert.equal(trail.passed(payload), payload)
  assert.deepEqual(trail.asking({ name: 'ann' }), { name: 'ann' })
})

test('a trail takes out what is said of positions, and says what it saw', () => {
  const trail = new Trail()
  assert.deepEqual(trail.joined({ hello: 'ann', $seen: { a: 3 } }), { hello: 'ann' })
  assert.deepEqual(trail.passed({ body: 'hi', $position: 'a:4' }), { body: 'hi' })
  assert.deepEqual(trail.passed({ body: 'ho', $position: 'b:1' }), { body: 'ho' })
  assert.deepEqual(trail.passed({ body: 'presence' }), { body: 'presence' })
  assert.deepEqual(trail.asking({ name: 'ann' }), { name: 'ann', $seen: { a: 4, b: 1 } })
  assert.equal(trail.asking('ann'), 'ann')
})

test('an answer takes the place of what was seen', () => {
  const trail = new Trail()
  trail.joined({ $seen: { a: 3 } })
  trail.joined({ $seen: { b: 0 }, recovered: false })
  assert.deepEqual(trail.asking({}), { $seen: { b: 0 } })
  trail.joined({}) // of a server that keeps nothing
  assert.deepEqual(trail.asking({}), {})
})
