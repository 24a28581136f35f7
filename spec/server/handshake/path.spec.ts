import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  findPath,
  isPathPattern,
  matchPath,
  pathOf,
  pathsOverlap,
} from '../../../lib/server/handshake/path.ts'

const patterns: [pattern: unknown, is: boolean][] = [
  ['/', true],
  ['/chat', true],
  ['/chat/', true],
  ['/chat/:room', true],
  ['/:room/:user', true],
  ['/a:b', true],
  ['/café', true],
  ['/:__proto__', true],
  ['', false],
  ['chat', false],
  ['/chat?room', false],
  ['/chat#room', false],
  ['/the chat', false],
  ['/chat\n', false],
  ['/:', false],
  ['/:/chat', false],
  ['/:room/:room', false],
  [5, false],
  [null, false],
  [undefined, false],
  [/chat/, false],
]

for (const [pattern, is] of patterns) {
  test(`${JSON.stringify(pattern) ?? 'undefined'} is ${is ? 'a' : 'no'} path pattern`, () => {
    assert.equal(isPathPattern(pattern), is)
  })
}

const targets: [target: string, path: string | undefined][] = [
  ['/', '/'],
  ['/chat', '/chat'],
  ['/chat/', '/chat/'],
  ['/chat?room=1', '/chat'],
  ['/chat?a?b', '/chat'],
  ['/?', '/'],
  ['/a%20b', '/a%20b'],
  ['/a%2Fb', '/a%2Fb'],
  ['/caf%C3%A9', '/caf%C3%A9'],
  // It is no relative reference: `//host` names no other host here, and `..` leads nowhere.
  ['//', '//'],
  ['//evil.com/chat', '//evil.com/chat'],
  ['///../', '///../'],
  ['/http://evil.com/chat', '/http://evil.com/chat'],
  ['*', '*'],
  // The absolute form, RFC 9112 §3.2.2.
  ['http://example.com/chat?room=1', '/chat'],
  ['https://example.com:8080/chat', '/chat'],
  ['HTTP://example.com/chat', '/chat'],
  ['http://name:password@example.com/chat', '/chat'],
  ['http://example.com', '/'],
  ['http://example.com?room=1', '/'],
  ['ftp://example.com/chat', 'ftp://example.com/chat'],
  ['/%00', undefined],
  ['/chat%00.html', undefined],
  ['/%', undefined],
  ['/%2', undefined],
  ['/%zz', undefined],
  ['/%C3', undefined], // half a character
  ['/%FF', undefined],
  ['/chat?%00', '/chat'],
  ['/chat?%zz', '/chat'],
]

for (const [target, path] of targets) {
  test(`the path of GET ${target} is ${path ?? 'none'}`, () => {
    assert.equal(pathOf(target), path)
  })
}

test('the path of a target of 64 KB is all of it', () => {
  const target = `/${'x'.repeat(65_536)}`
  assert.equal(pathOf(`${target}?query`), target)
})

const matches: [pattern: string, path: string, params: Record<string, string> | undefined][] = [
  ['/', '/', {}],
  ['/', '//', {}],
  ['/', '///', undefined],
  ['/', '///../', undefined],
  ['/', '/chat', undefined],
  ['/', '*', undefined],
  ['/chat', '/chat', {}],
  ['/chat', '/chat/', {}],
  ['/chat/', '/chat', {}],
  ['/chat', '/chat//', undefined],
  ['/chat', '//chat', undefined],
  ['/chat', '/Chat', undefined],
  ['/chat', '/chats', undefined],
  ['/chat', '/chat/1', undefined],
  ['/chat', '/ch%61t', {}],
  ['/café', '/caf%C3%A9', {}],
  ['/chat/:room', '/chat/1', { room: '1' }],
  ['/chat/:room', '/chat/1/', { room: '1' }],
  ['/chat/:room', '/talk/1', undefined],
  ['/chat/:room', '/chat', undefined],
  ['/chat/:room', '/chat/', undefined],
  ['/chat/:room', '/chat//', undefined],
  ['/chat/:room', '/chat/1/2', undefined],
  ['/chat/:room', '/chat/a%2Fb', { room: 'a/b' }],
  ['/chat/:room', '/chat/caf%C3%A9', { room: 'café' }],
  ['/chat/:room', '/chat/..', { room: '..' }],
  ['/chat/:room', '/chat/:room', { room: ':room' }],
  ['/:room/:user', '/1/2', { room: '1', user: '2' }],
  ['/:room/info', '/1/info', { room: '1' }],
  ['/:room', '//', undefined],
]

for (const [pattern, path, params] of matches) {
  test(`${path} ${params ? 'matches' : "doesn't match"} ${pattern}`, () => {
    const found = matchPath(pattern, path)
    assert.deepEqual(found && Object.fromEntries(found), params)
  })
}

test('a param may be called anything', () => {
  const params = matchPath('/:__proto__/:constructor', '/a/b')
  assert.deepEqual(
    [...(params ?? [])],
    [
      ['__proto__', 'a'],
      ['constructor', 'b'],
    ],
  )
})

const pairs: [one: string | undefined, other: string | undefined, overlap: boolean][] = [
  [undefined, undefined, true],
  [undefined, '/chat', true],
  ['/chat', '/chat', true],
  ['/chat', '/chat/', true],
  ['/chat', '/talk', false],
  ['/chat', '/chat/1', false],
  ['/chat', '/:room', true],
  ['/:room', '/:user', true],
  ['/chat/:room', '/chat/1', true],
  ['/chat/:room', '/talk/:room', false],
  ['/chat/:room', '/:kind/1', true],
  ['/chat/:room/a', '/chat/:room/b', false],
  // A param is never empty.
  ['/', '/:room', false],
  ['/chat//info', '/chat/:room/info', false],
]

for (const [one, other, overlap] of pairs) {
  const names = `${one ?? 'every path'} and ${other ?? 'every path'}`
  test(`${names} ${overlap ? 'overlap' : "don't overlap"}`, () => {
    assert.equal(pathsOverlap(one, other), overlap)
    assert.equal(pathsOverlap(other, one), overlap)
  })
}

const spots: [path: string | undefined, endings: string[], asked: string, ending?: string][] = [
  ['/socket', ['', '/websocket'], '/socket', ''],
  ['/socket', ['', '/websocket'], '/socket/websocket', '/websocket'],
  ['/socket', ['', '/websocket'], '/socket/websocket/', '/websocket'],
  ['/socket', ['/websocket'], '/socket'],
  ['/socket', ['', '/websocket'], '/socket/else'],
  ['/', ['', '/websocket'], '/websocket', '/websocket'],
  ['/:room', ['', '/websocket'], '/lobby/websocket', '/websocket'],
  ['/:room', ['', '/websocket'], '/websocket', ''],
  [undefined, ['', '/websocket'], '/any/where/websocket', '/websocket'],
  [undefined, ['', '/websocket'], '/any/where', ''],
  [undefined, ['/websocket'], '/any/where'],
]

for (const [path, endings, asked, ending] of spots) {
  const where = ending === undefined ? 'nowhere' : `at "${ending}"`
  test(`${asked} is ${where} of ${path ?? 'any path'} with ${endings.join(', ')}`, () => {
    assert.equal(findPath({ path, suffixes: endings }, asked)?.suffix, ending)
  })
}

test('params are those before the ending', () => {
  const spot = findPath({ path: '/:room', suffixes: ['/websocket'] }, '/lobby/websocket')
  assert.deepEqual(Object.fromEntries(spot?.params ?? []), { room: 'lobby' })
})
