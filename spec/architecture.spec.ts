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
  ['error-text'],
  ['errors'],
  [
    'close',
    'counts',
    'error-log',
    'path',
    'promises',
    'turn',
    'origin',
    'host',
    'peer-address',
    'backplane',
    'parts',
    'debug',
    'allowance',
    'watch',
    'channels/frame',
    'channels/history/store',
    'transport/tcp/frame',
    'transport/tcp/mask',
    'transport/tcp/payload',
    'transport/tcp/sliding-window',
    'transport/tcp/thread-pool',
    'transport/tcp/queue',
    'transport/tcp/write-backlog',
    'transport/tcp/message-timer',
  ],
  [
    ...['message', 'backoff', 'diagnostics', 'options/rules', 'proof', 'refusals'],
    ...['transport/tcp/read-budget', 'channels/text', 'channels/history/read-queue'],
  ],
  [
    ...['request', 'options/asked', 'options/broker', 'channels/history/history-contract'],
    ...['channels/history/options', 'channels/history/memory-history'],
  ],
  ['options/wire', 'options/close', 'engine'],
  ['options/connection', 'nats', 'redis-broker'],
  ['options/server', 'options/client', 'channels/history/redis-history'],
  ['options/node', 'options/browser', 'http'],
  [
    'transport/transport',
    'transport/tcp/extensions',
    'transport/tcp/inflation',
    'transport/tcp/frame-rules',
    'transport/tcp/frame-writer',
    'admission',
    'authorize',
    'address-limit',
    'upgrades',
    'pings',
    'inbox',
    'keepalive',
    'rolling-close',
    'relay',
    'retries',
    'channels/pulse',
    'channels/push',
    'channels/binary',
    'channels/history/position',
    'channels/contract',
  ],
  [
    'pending-sockets',
    'transport/websocket',
    'transport/tcp/inflater',
    'transport/tcp/frame-parser',
    'signals',
    'attempt',
    'channels/phoenix',
    'channels/amber',
    'channels/mail',
    'channels/gate',
  ],
  ['transport/tcp/deflate'],
  ['transport/tcp/sender'],
  ['transport/tcp/tcp-transport'],
  ['transport/tcp/dial', 'transport/tcp/upgrade', 'transport/memory'],
  ['transport/tcp/index'],
  [
    'listen',
    'channels/received',
    'channels/options',
    'channels/address',
    'channels/sieve',
    'channels/roster',
    'channels/broadcast',
  ],
  ['channels/node-state'],
  [
    'connection-core',
    'room',
    'channels/asking',
    'channels/history/recorded',
    'channels/backlog',
    'channels/nodes',
    'channels/presence-replica',
    'channels/presence-state',
    'channels/join-queue',
  ],
  ['connection', 'channels/history/find-beginning', 'channels/history/history-host'],
  ['floor', 'visit', 'channels/history/live-log'],
  ['server', 'client', 'channels/channel', 'redis'],
  ['channels/presence-signals', 'channels/history/topic-history'],
  ['testing', 'channels/topic', 'channels/hearing'],
  ['index', 'browser', 'channels/membership', 'channels/member', 'channels/presence'],
  ['channels/peer', 'channels/wire'],
  ['channels/server', 'channels/client'],
  ['channels/index', 'channels/browser'],
]

/** What stands behind a name that begins with #, in Node and in a browser. */
const behind: Readonly<Record<string, readonly [node: string, browser: string]>> = {
  '#debug': ['debug', 'debug'],
  '#options': ['options/node', 'options/browser'],
  '#transport': ['transport/tcp/index', 'transport/websocket'],
}

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
    .flatMap(({ from, to, typeOnly }) =>
      (behind[to] ?? [to]).map((each) => ({ from, to: each, typeOnly })),
    )
    .filter(({ to }) => files.includes(to))
    .filter(({ from, to }) => rowOf(to) >= rowOf(from))
    // The two halves of a connection know each other's types.
    .filter(
      ({ from, to, typeOnly }) => !typeOnly || `${from} ${to}` !== 'connection-core connection',
    )
  assert.deepEqual(wrong, [])
})

test('mitt is known to signals.ts alone, and ws to its transports', () => {
  const users = (name: string): string[] =>
    imports.filter(({ to }) => to === name).map(({ from }) => from)
  assert.deepEqual(users('mitt'), ['signals'])
  const transports = ['transport/tcp/dial', 'transport/tcp/extensions', 'transport/tcp/upgrade']
  assert.deepEqual(users('ws').sort(), transports)
})

test('the words of Phoenix are known to channels/phoenix.ts alone', () => {
  const speakers = files.filter((file) =>
    readFileSync(join(LIB, `${file}.ts`), 'utf8').includes('phx_'),
  )
  assert.deepEqual(speakers, ['channels/phoenix'])
})

/** What a file imports in a browser, and what that imports, and so on; types are gone by then. */
function reachedInBrowser(door: string): Import[] {
  const reached = new Set([door])
  const found: Import[] = []
  for (const file of reached) {
    for (const { from, to, typeOnly } of imports) {
      if (from !== file || typeOnly) continue
      const actual = behind[to]?.[1] ?? to
      found.push({ from, to: actual, typeOnly })
      if (files.includes(actual)) reached.add(actual)
    }
  }
  return found
}

test('a browser gets nothing of Node, nothing of ws, and nothing that only a server needs', () => {
  const reached = ['browser', 'channels/browser'].flatMap(reachedInBrowser)
  const packages = new Set(reached.map(({ to }) => to).filter((to) => !files.includes(to)))
  assert.deepEqual([...packages], ['mitt'])
  const served = reached.filter(({ to }) =>
    /^(server|floor|visit|room|relay|rolling-close|diagnostics|allowance|backplane|engine|refusals|redis|redis-broker|http|origin|options\/(server|node|wire|broker)|transport\/(memory|tcp\/.*)|channels\/(server|peer|membership|topic|nodes|node-state|history\/(?!position$).*|broadcast|options|presence-state|join-queue))$/.test(
      to,
    ),
  )
  assert.deepEqual(served, [])
})

test('what has two sides has the same names on both', () => {
  const package_ = JSON.parse(readFileSync(join(LIB, '../package.json'), 'utf8')) as {
    imports: Record<string, unknown>
  }
  assert.deepEqual(Object.keys(package_.imports), Object.keys(behind))
})

test('what a browser can import it finds in Node, too', () => {
  const names = (file: string): string[] =>
    [...readFileSync(join(LIB, `${file}.ts`), 'utf8').matchAll(/\{([^}]*)\}/g)].flatMap(
      ([, list = '']) => list.split(',').map((name) => name.replace(/\btype\b/, '').trim()),
    )
  for (const folder of ['', 'channels/']) {
    const there = names(`${folder}index`)
    const missing = names(`${folder}browser`).filter((name) => !there.includes(name))
    assert.deepEqual(missing, [])
  }
})

test('nothing is imported but what the package depends on', () => {
  const packages = new Set(imports.map(({ to }) => to).filter((to) => /^[a-z]+$/.test(to)))
  for (const file of files) packages.delete(file)
  packages.add('debug') // behind #debug, in Node
  assert.deepEqual([...packages].sort(), ['debug', 'mitt', 'ws'])
})
