import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import { test } from 'node:test'
import ts from 'typescript'

const LIB = new URL('../../lib/', import.meta.url)
const MAX_FILES = 12 // in a folder
const MAX_LINES = 300 // in a file

/** Files that are longer, and why. There may be five. */
const long: Readonly<Record<string, string>> = {
  'connection/connection-core.ts':
    'sending, receiving and pausing share one state; apart they would cost an object per connection',
  'transport/tcp/tcp-transport.ts':
    'what holds up reading (pause, inflation, turns, the end of TCP) is one decision',
  'transport/tcp/frames/frame-parser.ts': 'one state machine, on the path of every byte',
  'transport/tcp/frames/frame-writer.ts': 'the slab and its writers, on the path of every message',
}

/** Files of several functions or types, and their subject. */
const subjects: Readonly<Record<string, string>> = {
  'backoff.ts': 'delays between attempts',
  'debug.ts': 'the package `debug` in a browser',
  'errors.ts': 'the error classes',
  'format.ts': 'texts of values, errors and objects',
  'internal.ts': 'the keys of internal members',
  'promises.ts': 'kinds of promises',
  'validation.ts': 'rules for options',
  'channels/errors.ts': 'the error classes of channels',
  'channels/client/retry-policy.ts': 'after which failures a client tries again, and when',
  'channels/presence/remote-state.ts': 'what nodes know of the presence on others',
  'channels/protocol/phoenix-binary.ts': 'binary frames of Phoenix',
  'channels/protocol/phoenix-text.ts': 'text frames of Phoenix',
  'connection/backpressure.ts': 'when a connection pauses, and what is too much',
  'options/node.ts': 'the options of a client in Node',
  'options/node-only.ts': 'the options that only Node has',
  'server/handshake/base64.ts': 'base64 on every platform',
  'server/handshake/peer-address.ts': 'the address of a peer',
  'server/http/upgrade-router.ts': 'which server takes an upgrade',
  'testing/history-storage-tests.ts': 'tests of what a store keeps',
  'testing/history-subscription-tests.ts': 'tests of what a store delivers',
  'testing/history-test-steps.ts': 'what these tests share',
  'testing/memory-transport.ts': 'transports without a network',
  'transport/tcp/read-budget.ts': 'how much is read in one turn of the event loop',
  'transport/tcp/deflate/extensions.ts': 'Sec-WebSocket-Extensions',
  'transport/tcp/frames/frame.ts': 'the bits of a frame header',
}

const files = readdirSync(LIB, { recursive: true, encoding: 'utf8' }).filter((file) =>
  file.endsWith('.ts'),
)

const BANNED = /\b(somebody|nobody|anybody|everybody|someone|whoever|whomever|whom)\b/i

/** Lists the lines of files, with their places, that have a banned word. */
function linesWithBannedWords(folder: URL, names: readonly string[]): string[] {
  const lines = names.flatMap((name) =>
    readFileSync(new URL(name, folder), 'utf8')
      .split('\n')
      .map((line, index) => `${name}:${index + 1} ${line.trim()}`),
  )
  return lines.filter((line) => BANNED.test(line))
}

test('comments and texts name their actors', () => {
  assert.deepEqual(linesWithBannedWords(LIB, files), [])
})

test('docs and samples name their actors', () => {
  const root = new URL('../', LIB)
  const texts = ['docs/', 'samples/'].flatMap((folder) =>
    readdirSync(new URL(folder, root), { recursive: true, encoding: 'utf8' })
      .filter((name) => /\.(md|ts|js|html)$/.test(name) && !/^(api|site)\//.test(name))
      .map((name) => folder + name),
  )
  const pages = [...texts, 'README.md', 'CONTRIBUTING.md', 'SECURITY.md']
  assert.deepEqual(linesWithBannedWords(root, pages), [])
})

test(`no folder has more than ${MAX_FILES} files`, () => {
  const counts = new Map<string, number>()
  for (const file of files) {
    const folder = posix.dirname(file)
    counts.set(folder, (counts.get(folder) ?? 0) + 1)
  }
  assert.deepEqual(
    [...counts].filter(([, count]) => count > MAX_FILES),
    [],
  )
})

test(`no file has more than ${MAX_LINES} lines, with few exceptions`, () => {
  const lines = (file: string): number =>
    readFileSync(new URL(file, LIB), 'utf8').trimEnd().split('\n').length
  assert.deepEqual(files.filter((file) => lines(file) > MAX_LINES).sort(), Object.keys(long).sort())
  assert.ok(Object.keys(long).length <= 5)
})

/** Collects the names that a file exports, in lower case. */
function exportsOf(file: string): string[] {
  const text = readFileSync(new URL(file, LIB), 'utf8')
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true)
  return source.statements.flatMap((statement) => {
    if (!ts.canHaveModifiers(statement)) return []
    const isExported = ts
      .getModifiers(statement)
      ?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword)
    if (isExported !== true) return []
    if (ts.isVariableStatement(statement)) {
      return statement.declarationList.declarations.map(({ name }) => name.getText())
    }
    return 'name' in statement ? [(statement.name as ts.Identifier).text] : []
  })
}

test('a file is named after one of its exports, or its subject stands here', () => {
  const isEntry = (file: string): boolean =>
    /(^|\/)(index|browser)\.ts$|^(redis|nats)\.ts$/.test(file)
  const isNamedAfterExport = (file: string): boolean => {
    const name = posix.basename(file, '.ts').replaceAll('-', '').replace(/s$/, '')
    return exportsOf(file).some((each) => each.toLowerCase().replaceAll('_', '').includes(name))
  }
  assert.deepEqual(
    files.filter((file) => !isEntry(file) && !isNamedAfterExport(file)).sort(),
    Object.keys(subjects)
      .filter((file) => !isNamedAfterExport(file))
      .sort(),
  )
  assert.deepEqual(
    Object.keys(subjects).filter((file) => !files.includes(file)),
    [],
  )
})
