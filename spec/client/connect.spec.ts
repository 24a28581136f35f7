import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  PermanentConnectError,
  PostponedAttempt,
  connectOnce,
  ConnectAborted,
  abortErrorOf,
  type ConnectParams,
} from '../../lib/client/connect.ts'
import { ConnectError } from '../../lib/errors.ts'
import { resolveClient } from '../../lib/options/node.ts'
import type { DialRequest, DialCallbacks } from '../../lib/transport/transport.ts'
import { memoryEnds } from '../support/transport/memory.ts'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Makes an attempt at a place that answers as `answer` does, and counts its drops. */
function made(
  answer: (caller: DialCallbacks, call: DialRequest) => void,
  more: Partial<ConnectParams<string>> = {},
): { attempt: ConnectParams<string>; drops: () => number } {
  let drops = 0
  const attempt: ConnectParams<string> = {
    dial: (call, caller) => {
      answer(caller, call)
      return () => {
        drops++
      }
    },
    url: 'ws://localhost',
    settings: resolveClient({}),
    signal: new AbortController().signal,
    remainingDelay: () => 0,
    onOpen: (_, { url }) => `reached ${url.href}`,
    ...more,
  }
  return { attempt, drops: () => drops }
}

const opens = ({ onOpen: opened }: DialCallbacks): void =>
  queueMicrotask(() => opened(memoryEnds()[0]))

test('an attempt resolves with what is made of the transport', async () => {
  const { attempt, drops } = made(opens)
  assert.equal(await connectOnce(attempt), 'reached ws://localhost/')
  assert.equal(drops(), 0)
})

test('what opens while it dials is not dropped', async () => {
  const { attempt, drops } = made(({ onOpen: opened }) => opened(memoryEnds()[0]))
  assert.equal(await connectOnce(attempt), 'reached ws://localhost/')
  assert.equal(drops(), 0)
})

test('an attempt resolves with its failure, the first one', async () => {
  const first = new ConnectError('first')
  const { attempt, drops } = made(({ onError: failed }) => {
    failed(first)
    failed(new ConnectError('second'))
  })
  assert.equal(await connectOnce(attempt), first)
  assert.equal(drops(), 0)
})

for (const when of ['before', 'while it asks', 'while it dials', 'in its dial'] as const) {
  test(`an attempt is given up ${when}, with the signal's reason`, async () => {
    const stop = new AbortController()
    const stopped = new ConnectAborted({ code: 4000, description: 'enough' })
    let dialled = 0
    const answer = (): void => {
      dialled++
      if (when === 'in its dial') stop.abort(stopped)
    }
    const { attempt, drops } = made(answer, { signal: stop.signal })
    if (when === 'before') stop.abort(stopped)
    const outcome = connectOnce(attempt)
    if (when === 'while it asks') stop.abort(stopped)
    await turn()
    if (when === 'while it dials') stop.abort(stopped)
    assert.equal(await outcome, stopped)
    const reached = when.endsWith('dials') || when.endsWith('dial')
    assert.equal(dialled, reached ? 1 : 0)
    assert.ok(reached ? drops() >= 1 : drops() === 0)
  })
}

test('a signal aborted once it is open drops nothing', async () => {
  const stop = new AbortController()
  const { attempt, drops } = made(opens, {
    signal: stop.signal,
    onOpen: () => {
      stop.abort()
      return 'open'
    },
  })
  assert.equal(await connectOnce(attempt), 'open')
  assert.equal(drops(), 0)
})

test('connectTimeout covers the functions and the dialling, and drops what was dialled', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const settings = resolveClient({ connectTimeout: 1_000 })
  for (const url of ['ws://localhost', () => new Promise<string>(() => {})]) {
    const { attempt, drops } = made(() => {}, { settings, url })
    const outcome = connectOnce(attempt)
    await turn()
    t.mock.timers.tick(1_000)
    const failure = await outcome
    assert.ok(failure instanceof ConnectError)
    assert.equal(failure.msg, 'no answer within 1000 ms')
    assert.equal(drops(), typeof url === 'string' ? 1 : 0)
  }
})

for (const [what, more, impossible] of [
  ['a url that is none', { url: 'junk' }, true],
  ['a function that gives a url that is none', { url: () => 'junk' }, false],
  ['what can not be dialled', {}, true],
  ['what can not be dialled, from a function', { url: () => 'ws://localhost' }, false],
  ['it, with headers from a function', { settings: resolveClient({ headers: () => ({}) }) }, false],
] as [string, Partial<ConnectParams<string>>, boolean][]) {
  test(`${what} fails ${impossible ? 'for ever' : 'this time'}`, async () => {
    const { attempt } = made(() => {
      throw new SyntaxError('no')
    }, more)
    const failure = await connectOnce(attempt)
    assert.ok(failure instanceof ConnectError)
    assert.equal(failure.name, 'ConnectError')
    assert.equal(failure instanceof PermanentConnectError, impossible)
  })
}

test('what stopped is known by its reason', () => {
  const stopped = new ConnectAborted({ code: 1006, description: 'aborted' }, new Error('too late'))
  assert.equal(stopped.msg, 'gave up to connect: too late')
  assert.equal(abortErrorOf(AbortSignal.abort(stopped)), stopped)
  assert.equal(abortErrorOf(AbortSignal.abort()), undefined)
  assert.equal(abortErrorOf(new AbortController().signal), undefined)
})

test('an attempt with a server that a function names is postponed while that wants to be left alone', async () => {
  const url = new URL('ws://localhost/')
  for (const [given, remaining] of [
    [() => url, 5],
    [() => Promise.resolve('ws://localhost'), 5],
    [() => url, 0],
    ['ws://localhost', 5],
  ] as const) {
    const asked: URL[] = []
    const { attempt } = made(opens, {
      url: given,
      remainingDelay: (server) => {
        asked.push(server)
        return remaining
      },
    })
    const isPostponed = typeof given === 'function' && remaining > 0
    const expected = isPostponed ? new PostponedAttempt(5) : 'reached ws://localhost/'
    assert.deepEqual(await connectOnce(attempt), expected)
    assert.deepEqual(asked, typeof given === 'function' ? [url] : [])
  }
})
