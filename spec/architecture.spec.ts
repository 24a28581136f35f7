import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { test } from 'node:test'

const LIB = new URL('../lib/', import.meta.url).pathname

/**
 * Each file stands above those it may import, lowest row first; files of one row don't know each
 * other, save by the arrows drawn below.
 */
const rows: readonly (readonly string[])[] = [
  [
    'errors',
    'close',
    'path',
    'promises',
    'origin',
    'backplane',
    'transport/frame',
    'transport/pongs',
    'transport/parts',
    'transport/utf8',
  ],
  ['message', 'request', 'options', 'backoff', 'http'],
  [
    'transport/transport',
    'transport/deflate',
    'transport/inflater',
    'transport/scanner',
    'transport/outbox',
    'transport/reader',
    'admission',
    'upgrades',
    'pings',
    'inbox',
    'keepalive',
    'retries',
  ],
  ['transport/ws', 'transport/memory', 'signals', 'attempt'],
  ['transport/lane'],
  ['listen'],
  ['connection', 'room'],
  ['server', 'client'],
  ['testing'],
  ['index'],
]
const arrows: readonly string[] = ['options → request', 'http → options']

interface Import {
  readonly from: string
  readonly to: string
  readonly typeOnly: boolean
}

const files = readdirSync(LIB, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => file.replace(/\.ts$/, ''))

const imports: readonly Import[] = files.flatMap((from) => {
  const text = readFileSync(join(LIB, `${from}.ts`), 'utf8')
  const statements = text.matchAll(/^(?:import|export) (type )?(?:[^;'"]*? from )?'([^']+)'$/gm)
  return [...statements].map(([, type, to = '']) => ({
    from,
    to: to.startsWith('.') ? posix.join(posix.dirname(from), to).replace(/\.ts$/, '') : to,
    typeOnly: type !== undefined,
  }))
})

const rowOf = (file: string): number => rows.findIndex((row) => row.includes(file))

test('every file has its place', () => {
  assert.deepEqual([...files].sort(), rows.flat().sort())
})

test('an arrow only points down', () => {
  const wrong = imports
    .map(({ from, to }) => ({ from, to: to === '#transport' ? 'transport/lane' : to }))
    .filter(({ to }) => files.includes(to))
    .filter(({ from, to }) => rowOf(to) >= rowOf(from) && !arrows.includes(`${from} → ${to}`))
  assert.deepEqual(wrong, [])
})

test('mitt is known to signals.ts alone, and ws to its transports', () => {
  const users = (name: string): string[] =>
    imports.filter(({ to }) => to === name).map(({ from }) => from)
  assert.deepEqual(users('mitt'), ['signals'])
  assert.deepEqual(users('ws').sort(), ['transport/lane', 'transport/parts', 'transport/ws'])
})

test('what a client stands on needs nothing of Node, save types', () => {
  const reached = new Set(['client'])
  for (const file of reached) {
    for (const { from, to } of imports) if (from === file && files.includes(to)) reached.add(to)
  }
  const needs = imports.filter(
    ({ from, to, typeOnly }) => reached.has(from) && to.startsWith('node:') && !typeOnly,
  )
  assert.deepEqual(needs, [])
  assert.ok(!reached.has('server') && !reached.has('transport/ws'))
})

test('nothing is imported but what the package depends on', () => {
  const packages = new Set(imports.map(({ to }) => to).filter((to) => /^[a-z]+$/.test(to)))
  for (const file of files) packages.delete(file)
  assert.deepEqual([...packages].sort(), ['debug', 'mitt', 'ws'])
})
