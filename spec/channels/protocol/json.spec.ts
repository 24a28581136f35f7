import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  utf8Length,
  assertName,
  assertRef,
  parsedBytes,
  readJson,
  writeJson,
} from '../../../lib/channels/protocol/json.ts'
import { FrameError } from '../../../lib/errors.ts'
import { inUse } from '../../support/heap.ts'
import { Random } from '../../support/channels/random.ts'

test('bytes are counted as UTF-8 has them', (context) => {
  const random = new Random()
  context.diagnostic(`seed ${random.seed}`)
  const units = [
    '',
    'a',
    '\u007f',
    '\u0080',
    '\u07ff',
    '\u0800',
    '\uffff',
    '\ud800',
    '\udc00',
    '😀',
  ]
  for (let round = 0; round < 2_000; round++) {
    const text = Array.from({ length: random.below(8) }, () => units[random.below(10)]).join('')
    assert.equal(utf8Length(text), Buffer.byteLength(text), JSON.stringify(text))
  }
})

test('a name has 255 bytes at most, however many characters these are', () => {
  const fitting = ['', 'a'.repeat(255), 'é'.repeat(127), '名'.repeat(85), '😀'.repeat(63)]
  for (const name of fitting) {
    assert.equal(assertName(name, 'topic'), name)
    assert.equal(assertRef(name, 'ref'), name)
    const longer = name === '' ? 'a'.repeat(256) : `${name}😀`
    for (const check of [assertName, assertRef]) {
      assert.throws(() => check(longer, 'this'), {
        ...{ name: 'FrameError', closeCode: 1008, message: '`this` is longer than 255 bytes' },
      })
    }
  }
})

test('a name and a ref have whole characters: bytes could not carry half of one back', () => {
  for (const half of ['\ud83d', '\ude00', 'a\ude00\ud83db']) {
    assert.throws(() => assertName(half, 'topic'), FrameError)
    assert.throws(() => assertRef(half, 'ref'), FrameError)
  }
  assert.equal(assertRef(null, 'ref'), null)
})

const nested = (depth: number): string =>
  `${'['.repeat(depth)}"${'x'.repeat(99)}"${']'.repeat(depth)}`

test('512 levels are read, besides those around them, and one more is not', () => {
  for (const depth of [1, 511, 512]) {
    assert.equal(JSON.stringify(readJson(nested(depth), 0)), nested(depth))
    assert.deepEqual(readJson(`{"a":${nested(depth)}}`, 1), { a: JSON.parse(nested(depth)) })
  }
  assert.throws(() => readJson(nested(513), 0), { closeCode: 1008 })
  assert.throws(() => readJson(`{"a":${nested(512)}}`, 0), { closeCode: 1008 })
  assert.throws(() => readJson(`{"a":${nested(513)}}`, 1), { closeCode: 1008 })
})

test('512 levels are written, and one more is refused with its cure', () => {
  const deep: unknown = JSON.parse(nested(512))
  assert.equal(writeJson(deep, 'this'), nested(512))
  assert.throws(() => writeJson([deep], 'this'), {
    ...{ name: 'TypeError', message: 'this nests deeper than 512 levels of JSON: make it flatter' },
  })
  assert.throws(() => writeJson({ toJSON: () => [deep] }, 'this'), /deeper than 512/)
  assert.throws(() => writeJson(JSON.parse(nested(4)), 'this', 3), /deeper than 3/)
})

test('levels are those open at a time, whatever stands in strings', () => {
  const wide = [
    Array(2_000).fill([[]]),
    '['.repeat(999),
    '\\"[{'.repeat(999),
    '\\'.repeat(999),
    { '[{"': 1 },
  ]
  assert.deepEqual(readJson(JSON.stringify(wide), 0), wide)
  const deep = `["${'\\\\'.repeat(600)}",${'['.repeat(512)}${']'.repeat(512)}]`
  assert.throws(() => readJson(deep, 0), { closeCode: 1008 })
})

test('what is no JSON says so, with the cause', () => {
  assert.throws(
    () => readJson('{', 0),
    (error) => {
      assert.ok(error instanceof FrameError && error.cause instanceof SyntaxError)
      assert.deepEqual([error.closeCode, error.message], [1007, 'expected JSON'])
      return true
    },
  )
})

test('what can be written is written as JSON.stringify does', () => {
  for (const value of [
    null,
    0,
    -0,
    NaN,
    'a\u2028\ud800',
    [undefined],
    { a: undefined },
    new Date(0),
  ]) {
    assert.equal(writeJson(value, 'this'), JSON.stringify(value))
  }
  const thrown = { toJSON: (): never => fail('text') }
  assert.throws(() => writeJson(thrown, 'this'), { name: 'TypeError', cause: 'text' })
})

function fail(what: unknown): never {
  throw what
}

for (const value of ['{}', '[]', '0', '""', '{"a":1}', '[[]]', '"some words"']) {
  test(`a long list of ${value} counts with a half of what it takes in memory, or more`, () => {
    const text = `[${Array.from({ length: 10_000 }, () => value).join(',')}]`
    const before = inUse()
    const kept = Array.from({ length: 50 }, () => JSON.parse(text) as unknown)
    const bytes = (inUse() - before) / kept.length
    const counted = text.length + parsedBytes(text)
    assert.ok(counted > bytes / 2, `${counted} of ${bytes} bytes`)
  })
}

test('a short text, and bytes, count as they are', () => {
  assert.equal(parsedBytes('[{},{},{}]'), 0)
  assert.equal(parsedBytes(new Uint8Array(1_000).fill(0x2c)), 0)
})
