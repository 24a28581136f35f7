import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { test } from 'node:test'

const LIB = new URL('../../lib/', import.meta.url).pathname

/** The entry points: nothing else imports them. */
const entries = new Set([
  ...['index', 'browser', 'redis', 'nats', 'testing/index'],
  ...['channels/index', 'channels/browser'],
])

/**
 * The imports that the files of a folder may have at run time, beside each other; '' is the top.
 * Each folder imports from those above it only. `import type` may point anywhere but into an entry
 * point, save that the core knows nothing of channels.
 */
const arrows: Readonly<Record<string, readonly string[]>> = {
  '': [],
  events: [''],
  connection: ['', 'events'],
  messages: ['', 'connection'],
  'server/handshake': ['', 'connection'],
  options: ['', 'connection', 'server/handshake'],
  transport: ['', 'connection'],
  'transport/tcp/frames': ['', 'connection'],
  'transport/tcp/deflate': ['', 'connection'],
  'transport/tcp': [
    ...['', 'connection', 'server/handshake', 'transport'],
    ...['transport/tcp/frames', 'transport/tcp/deflate'],
  ],
  backplane: ['', 'options'],
  rooms: ['', 'connection', 'events', 'backplane'],
  'server/http': ['', 'server/handshake'],
  server: [
    '',
    'connection',
    'events',
    'options',
    'rooms',
    'server/handshake',
    'server/http',
    'transport',
    'transport/tcp',
  ],
  client: ['', 'connection', 'events', 'options', 'server/handshake', 'transport', 'transport/tcp'],
  channels: ['', 'events'],
  'channels/protocol': ['', 'connection', 'messages', 'server/handshake'],
  'channels/contract': ['', 'messages'],
  'channels/history': ['', 'options', 'backplane', 'channels', 'channels/protocol'],
  'channels/messages': ['', 'events', 'channels'],
  'channels/presence': [
    ...['', 'connection', 'events', 'messages', 'channels', 'channels/protocol'],
  ],
  'channels/server': [
    ...['', 'connection', 'events', 'rooms', 'server', 'server/handshake'],
    ...[
      'channels',
      'channels/protocol',
      'channels/contract',
      'channels/history',
      'channels/messages',
      'channels/presence',
    ],
  ],
  'channels/client': [
    ...['', 'connection', 'events', 'options', 'client', 'channels', 'channels/protocol'],
    ...['channels/contract', 'channels/history', 'channels/messages', 'channels/presence'],
    ...['transport', 'transport/tcp'],
  ],
  testing: [
    ...['', 'connection', 'events', 'options', 'server', 'server/handshake', 'client'],
    'transport/tcp',
  ],
}

/** The module behind each name that begins with #, in Node and in a browser. */
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

const folderOf = (file: string): string => {
  const folder = posix.dirname(file)
  return folder === '.' ? '' : folder
}

/** The imports of one file of lib/ by another. */
const inside = imports
  .flatMap((each) => (behind[each.to] ?? [each.to]).map((to) => ({ ...each, to })))
  .filter(({ to }) => files.includes(to))

test('every folder has its arrows', () => {
  const folders = new Set(files.map(folderOf))
  assert.deepEqual([...folders].sort(), Object.keys(arrows).sort())
})

test('each folder imports at run time what its arrows allow, and no arrow points back', () => {
  const wrong = inside.filter(({ from, to, typeOnly }) => {
    if (typeOnly || entries.has(from)) return false
    return (
      folderOf(from) !== folderOf(to) && arrows[folderOf(from)]?.includes(folderOf(to)) !== true
    )
  })
  assert.deepEqual(wrong, [])
  const order = Object.keys(arrows)
  for (const [folder, targets] of Object.entries(arrows)) {
    const upward = targets.filter((target) => order.indexOf(target) >= order.indexOf(folder))
    assert.deepEqual([folder, upward], [folder, []])
  }
})

test('nothing imports an entry point, and the core knows nothing of channels', () => {
  const wrong = inside.filter(({ from, to }) => {
    const leavesCore = !/^(channels|testing)/.test(from) && to.startsWith('channels/')
    return !entries.has(from) && (entries.has(to) || leavesCore)
  })
  assert.deepEqual(wrong, [])
})

test('files of one folder import each other one way', () => {
  const values = inside.filter(({ typeOnly }) => !typeOnly)
  const reached = (file: string, seen = new Set<string>()): Set<string> => {
    for (const { to } of values.filter(({ from }) => from === file)) {
      if (!seen.has(to)) reached(to, seen.add(to))
    }
    return seen
  }
  assert.deepEqual(
    files.filter((file) => reached(file).has(file)),
    [],
  )
})

test('mitt is known to events/emitter.ts alone, and ws to its transports', () => {
  const users = (name: string): string[] =>
    imports.filter(({ to }) => to === name).map(({ from }) => from)
  assert.deepEqual(users('mitt'), ['events/emitter'])
  const transports = [
    'transport/tcp/deflate/extensions',
    'transport/tcp/dial',
    'transport/tcp/upgrade',
  ]
  assert.deepEqual(users('ws').sort(), transports)
})

test('the words of Phoenix are known to channels/protocol/phoenix.ts alone', () => {
  const speakers = files.filter((file) =>
    readFileSync(join(LIB, `${file}.ts`), 'utf8').includes('phx_'),
  )
  assert.deepEqual(speakers, ['channels/protocol/phoenix'])
})

/** Returns the imports of a file in a browser, and theirs, and so on; types are gone by then. */
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
    /^(server\/(?!handshake\/(request|path|base64|token-subprotocol)$).*|rooms\/.*|backplane\/.*|testing\/.*|connection\/rate-limiter|options\/(server|node|node-only|broker)|transport\/tcp\/.*|channels\/(server|protocol\/broadcast|presence\/(presence-replicator|node-message|remote-node|remote-state|encoded-state)|history\/(?!position$).*)(\/.*)?)$/.test(
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

test('docs/architecture.md has one line for each file', () => {
  const page = readFileSync(join(LIB, '../docs/architecture.md'), 'utf8')
  const listed = page.split('\n### ').flatMap((section) => {
    const [heading = ''] = section.split('\n')
    const folder = heading.includes(' and ') ? '' : heading.replace(/^lib\//, '')
    return [...section.matchAll(/^- `([\w/.-]+)\.ts`: \S.*$/gm)].map(
      ([, file = '']) => folder + file,
    )
  })
  assert.deepEqual(listed.sort(), [...files].sort())
})
