import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  listen,
  once,
  WebsocketClient,
  WebsocketServer,
  type WebsocketConnection,
} from 'simplewebsockets'
import { pair } from 'simplewebsockets/testing'
import { resolveClient } from '../../lib/options/node.ts'
import { resolveServer } from '../../lib/options/server.ts'
import { runs } from './chance.ts'

const names = [...Object.keys(resolveServer()), ...Object.keys(resolveClient())]
const junk = fc.anything({
  withBigInt: true,
  withDate: true,
  withMap: true,
  withNullPrototype: true,
  withObjectString: true,
  withSparseArray: true,
  withTypedArray: true,
})
const value = fc.oneof(junk, fc.func(junk), fc.constantFrom(0, -1, 1, NaN, Infinity, 2 ** 53, true))
const inside = ['threshold', 'level', 'attempts', 'delay', 'when', '__proto__']
const bag = fc.oneof(
  junk,
  fc.dictionary(fc.constantFrom(...names), fc.oneof(value, fc.dictionary(oneOf(inside), value)), {
    maxKeys: 3,
  }),
)

function oneOf(words: readonly string[]): fc.Arbitrary<string> {
  return fc.constantFrom(...words)
}

/** Runs what may refuse what it is given, and nothing else. */
function tries(work: () => unknown, ...refusals: (typeof TypeError | typeof RangeError)[]): void {
  try {
    work()
  } catch (error) {
    assert.ok(
      [TypeError, ...refusals].some((kind) => error instanceof kind),
      String(error),
    )
    assert.match((error as Error).message, /expected|unknown|needs|no |must/i)
  }
}

test('options of any kind are settled, or refused by a TypeError that says what was expected', () => {
  fc.assert(
    fc.property(bag, (given) => {
      tries(() => new WebsocketServer(given as object))
      tries(() => new WebsocketClient(given as object))
    }),
    runs(3_000),
  )
})

test('what is no data, no code and no text is refused, and the connection goes on', () => {
  fc.assert(
    fc.property(value, value, (one, other) => {
      const ends = pair({
        server: { keepaliveTimeout: false },
        client: { keepaliveTimeout: false },
      })
      for (const end of ends as WebsocketConnection[]) {
        tries(() => end.send(one as string))
        tries(() => end.broadcast(one as string))
        tries(() => void end.ping(one as string))
        const before = end.isOpen
        tries(() => end.close(one as number, other as string), RangeError)
        assert.ok(before)
        if (!end.isOpen) return
      }
    }),
    runs(1_000),
  )
})

test('unknown events are refused', () => {
  const client = new WebsocketClient()
  fc.assert(
    fc.property(value, value, value, (event, callback, options) => {
      tries(() => listen(client, event as 'connect', callback as () => void, options as object))
      tries(() => listen(client, event as 'connect', options as object))
      tries(() => void once(client, event as 'connect', options as object).catch(() => {}))
    }),
    runs(1_000),
  )
})
