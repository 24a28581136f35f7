import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ValidationResult } from '../../../lib/channels/contract/contract.ts'
import { OrderedValidator } from '../../../lib/channels/contract/ordered-validator.ts'
import type { ResultHandlers } from '../../../lib/messages/ordered-results.ts'
import type { StandardSchema } from '../../../lib/messages/standard-schema.ts'

const number: StandardSchema = schemaOf((value) =>
  typeof value === 'number' ? { value: value + 1 } : { issues: [{ message: 'not a number' }] },
)

function schemaOf(validate: StandardSchema['~standard']['validate']): StandardSchema {
  return { '~standard': { version: 1, vendor: 'spec', validate } }
}

/** Records the outcome of each validation in `told`, in order. */
function watched(told: unknown[]): (name: string) => ResultHandlers<ValidationResult> {
  return (name) => ({
    onResult: (verdict) => told.push([name, 'value' in verdict ? verdict.value : 'refused']),
    onError: (cause) => told.push([name, cause]),
    onWaiting: (step) => told.push([name, step]),
  })
}

test('what is judged at once passes at once, changed as its schema says', () => {
  const told: unknown[] = []
  const outcome = watched(told)
  const gate = new OrderedValidator()
  gate.validate(number, 1, outcome('one'))
  gate.validate(number, '1', outcome('two'))
  gate.validate(undefined, 1, outcome('three'))
  assert.deepEqual(told, [
    ['one', 2],
    ['two', 'refused'],
    ['three', 'refused'],
  ])
})

test('what takes its time holds up what comes behind it, and nothing later', async () => {
  const told: unknown[] = []
  const outcome = watched(told)
  const gate = new OrderedValidator()
  const { promise, resolve } = deferred()
  gate.validate(
    schemaOf(() => promise),
    1,
    outcome('slow'),
  )
  gate.validate(number, 1, outcome('quick'))
  const last = new Promise((done) => {
    gate.validate(number, 2, { ...outcome('last'), onWaiting: (step) => step === -1 && done(step) })
  })
  resolve({ value: 'at last' })
  await last
  assert.deepEqual(told, [
    ['slow', 1],
    ['quick', 1],
    ['slow', 'at last'],
    ['slow', -1],
    ['quick', 2],
    ['quick', -1],
    ['last', 3],
  ])
  told.length = 0
  gate.validate(number, 3, outcome('after'))
  assert.deepEqual(told, [['after', 4]])
})

test('a schema that fails is told, and what comes behind it goes on', async () => {
  const told: unknown[] = []
  const outcome = watched(told)
  const gate = new OrderedValidator()
  const throwing = schemaOf(() => {
    throw new TypeError('thrown')
  })
  gate.validate(throwing, 1, outcome('throws'))
  gate.validate(
    schemaOf(() => Promise.reject(new TypeError('rejected'))),
    1,
    outcome('rejects'),
  )
  const last = new Promise((done) => {
    gate.validate(number, 2, { ...outcome('last'), onWaiting: (step) => step === -1 && done(step) })
  })
  await last
  assert.deepEqual(told, [
    ['throws', new TypeError('thrown')],
    ['rejects', 1],
    ['rejects', new TypeError('rejected')],
    ['rejects', -1],
    ['last', 3],
  ])
})

test('a schema that throws at once is told after what came before it', async () => {
  const told: unknown[] = []
  const outcome = watched(told)
  const gate = new OrderedValidator()
  const { promise, resolve } = deferred()
  gate.validate(
    schemaOf(() => promise),
    1,
    outcome('slow'),
  )
  const throwing = schemaOf(() => {
    throw new TypeError('thrown')
  })
  const last = new Promise((done) => {
    gate.validate(throwing, 2, {
      ...outcome('throws'),
      onWaiting: (step) => step === -1 && done(step),
    })
  })
  assert.deepEqual(told, [['slow', 1]])
  assert.ok(gate.isValidating)
  resolve({ value: 'at last' })
  await last
  assert.deepEqual(told, [
    ['slow', 1],
    ['slow', 'at last'],
    ['slow', -1],
    ['throws', new TypeError('thrown')],
  ])
  assert.ok(!gate.isValidating)
})

interface Deferred {
  readonly promise: Promise<{ value: unknown }>
  readonly resolve: (result: { value: unknown }) => void
}

function deferred(): Deferred {
  let resolve: Deferred['resolve'] = () => {}
  const promise = new Promise<{ value: unknown }>((done) => {
    resolve = done
  })
  return { promise, resolve }
}

test('the bytes that wait are those of payloads without a result, and of those behind them', async () => {
  const outcome = watched([])
  const validator = new OrderedValidator()
  const { promise, resolve } = deferred()
  validator.validate(number, 1, { ...outcome('quick'), size: 100 })
  assert.equal(validator.waitingBytes, 0)
  const slow = schemaOf(() => promise)
  validator.validate(slow, 1, { ...outcome('slow'), size: 10 })
  const last = new Promise((done) => {
    const onWaiting = (step: 1 | -1): unknown => step === -1 && done(step)
    validator.validate(number, 2, { ...outcome('behind'), size: 5, onWaiting })
  })
  assert.equal(validator.waitingBytes, 15)
  resolve({ value: 'at last' })
  await last
  assert.equal(validator.waitingBytes, 0)
})
