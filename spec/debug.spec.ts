import assert from 'node:assert/strict'
import { test } from 'node:test'
import debug from '../lib/debug.ts'

const cases: [what: string, storage: object | undefined, isSaid: boolean][] = [
  ['no storage', undefined, false],
  ['an empty storage', {}, false],
  ['the name of another package', { debug: 'express:*' }, false],
  ['our name', { debug: 'simplewebsockets*' }, true],
  ['a star', { debug: '*' }, true],
]
for (const [what, storage, isSaid] of cases) {
  test(`with ${what} a browser ${isSaid ? 'says what happens' : 'says nothing'}`, (t) => {
    Object.defineProperty(globalThis, 'localStorage', { value: storage, configurable: true })
    const said = t.mock.method(console, 'debug', () => {})
    debug('simplewebsockets:client')('connected to %s', 'there')
    const calls = said.mock.calls.map((call) => call.arguments)
    assert.deepEqual(calls, isSaid ? [['simplewebsockets:client connected to %s', 'there']] : [])
  })
}

test('storage that is forbidden is no storage', () => {
  const get = (): never => {
    throw new Error('SecurityError')
  }
  Object.defineProperty(globalThis, 'localStorage', { get, configurable: true })
  assert.doesNotThrow(() => debug('simplewebsockets:client')('connected'))
})
