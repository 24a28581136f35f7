import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { deferred, markHandled, isPromise, rejected, WatchedPromise } from '../lib/promises.ts'

test('a deferred promise is resolved from outside', async () => {
  const { promise, resolve } = deferred<string>()
  resolve('done')
  assert.equal(await promise, 'done')
})

test('a deferred promise is rejected from outside', async () => {
  const { promise, reject } = deferred<string>()
  const reason = new Error('no')
  reject(reason)
  await assert.rejects(promise, reason)
})

test('a deferred promise is settled once', async () => {
  const { promise, resolve, reject } = deferred<string>()
  resolve('first')
  resolve('second')
  reject(new Error('late'))
  assert.equal(await promise, 'first')
})

test('a handled promise still shows its rejection to code that awaits it', async () => {
  const reason = new Error('no')
  const promise = Promise.reject(reason)
  assert.equal(markHandled(promise), promise)
  await assert.rejects(promise, reason)
})

test('a handled promise still gives its value to code that awaits it', async () => {
  assert.equal(await markHandled(Promise.resolve('yes')), 'yes')
})

test('a handled promise that no code awaits ends nothing', async () => {
  markHandled(Promise.reject(new Error('nobody awaits it')))
  await setImmediate() // by then Node would have failed this test
})

const { promise } = deferred()
const things: [what: string, value: unknown, promise: boolean][] = [
  ['a promise', promise, true],
  ['a thing with a then', { then: () => {} }, true],
  ['a thing that inherits a then', Object.create({ then: () => {} }), true],
  ['a thing whose then is no function', { then: 'later' }, false],
  ['a thing without a then', {}, false],
  ['a list', [], false],
  ['null', null, false],
  ['undefined', undefined, false],
  ['a text', 'then', false],
  ['a number', 5, false],
]

for (const [what, value, is] of things) {
  test(`${what} is ${is ? 'taken for' : 'not taken for'} a promise`, () => {
    assert.equal(isPromise(value), is)
  })
}

test('a promise made rejected shows that to the caller, and ends nothing where it is left alone', async () => {
  void rejected(new Error('left alone'))
  await setImmediate()
  await assert.rejects(rejected('a reason'), /^a reason$/)
})

const watching: [how: string, watch: (promise: Promise<unknown>) => unknown][] = [
  [
    'a `then`',
    (promise) =>
      promise.then(
        () => {},
        () => {},
      ),
  ],
  ['a `catch`', (promise) => promise.catch(() => {})],
  ['a `finally`', (promise) => promise.finally(() => {}).catch(() => {})],
  [
    'an `await`',
    async (promise) => {
      try {
        await promise
      } catch {}
    },
  ],
  ['a race', (promise) => Promise.race([promise]).catch(() => {})],
]

for (const [how, watch] of watching) {
  test(`a watched promise knows of ${how}`, async () => {
    const promise = new WatchedPromise<unknown>((_, reject) => reject(new Error('no')))
    assert.equal(promise.isWatched, false)
    watch(promise)
    await Promise.resolve()
    assert.equal(promise.isWatched, true)
    await setImmediate()
  })
}

test('a watched promise that nothing watches ends nothing, and what `then` makes is a promise', async () => {
  const promise = new WatchedPromise<unknown>((_, reject) => reject(new Error('left alone')))
  await setImmediate()
  assert.equal(promise.isWatched, false)
  const next = new WatchedPromise<number>((resolve) => resolve(1)).then((value) => value + 1)
  assert.equal(Object.getPrototypeOf(next), Promise.prototype)
  assert.equal(await next, 2)
})
