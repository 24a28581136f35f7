import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RefusedChannels } from '../../lib/backplane/refused-channels.ts'

test('many changes of what a broker refuses are told together, the first one at once', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  t.mock.method(console, 'error', () => {})
  let told = 0
  const refusals = new RefusedChannels('p.', () => {
    told++
  })
  refusals.add('subscribe', 'p.first', new Error('NOPERM'))
  assert.equal(told, 1)
  for (let room = 0; room < 1_000; room++) {
    refusals.add('subscribe', `p.${room}`, new Error('NOPERM'))
    if (room % 2 === 0) refusals.delete('subscribe', `p.${room}`)
  }
  assert.equal(told, 1)
  t.mock.timers.tick(250)
  assert.equal(told, 2)
  assert.equal(refusals.list().length, 501)
  t.mock.timers.tick(10_000)
  assert.equal(told, 2)
})
