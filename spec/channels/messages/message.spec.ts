import assert from 'node:assert/strict'
import { test } from 'node:test'
import { IncomingMessage } from '../../../lib/channels/messages/message.ts'

function received(answers: unknown[][]): IncomingMessage {
  const answerer = {
    answer: (...answer: unknown[]) => {
      if (answer[2] === 'unspeakable') throw new TypeError("can't be JSON")
      answers.push(answer)
    },
  }
  return new IncomingMessage({ event: 'evt', ref: '7' }, { a: 1 }, answerer, {
    size: 20,
    number: 3,
  })
}

test('what was pushed says what came, its size, and where it stands', () => {
  const { event, payload, size, number } = received([])
  assert.deepEqual([event, payload, size, number], ['evt', { a: 1 }, 20, 3])
})

test('reply and refuse are bound, and say nothing where nothing was given', () => {
  const answers: unknown[][] = []
  const one = received(answers)
  const { reply } = one
  reply()
  const { refuse } = received(answers)
  refuse()
  received(answers).reply([1], 'later')
  received(answers).refuse('no')
  assert.deepEqual(answers, [
    ['7', 'ok', {}],
    ['7', 'error', {}],
    ['7', 'later', [1]],
    ['7', 'error', 'no'],
  ])
})

test('a second answer throws, of either kind', () => {
  const message = received([])
  message.reply()
  for (const again of [message.reply, message.refuse]) {
    assert.throws(() => again(), /this `evt` was answered already/)
  }
})

test('an answer that could not be said leaves room for another', () => {
  const answers: unknown[][] = []
  const message = received(answers)
  assert.throws(() => message.reply('unspeakable'), TypeError)
  message.reply('speakable')
  assert.deepEqual(answers, [['7', 'ok', 'speakable']])
})
