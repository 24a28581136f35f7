import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inspect } from 'node:util'
import {
  escapeText,
  formatLogLine,
  formatReport,
  describeValue,
  withoutCommand,
} from '../lib/format.ts'
import { CallbackError, ConnectError, WebsocketError } from '../lib/errors.ts'

/** Makes an error as ioredis does. */
function replyError(message = 'NOPERM'): Error {
  const error = Object.assign(new Error(message), {
    code: 'NOPERM',
    command: { name: 'publish', args: ['hidden'] },
  })
  error.name = 'ReplyError'
  return error
}

const UNKNOWN = "ERR unknown command 'SAY', with args beginning with: 'hidden' 'hidden' "

const texts: [failure: unknown, text: string][] = [
  [replyError('no permission'), 'no permission (NOPERM)'],
  [replyError('NOPERM at all'), 'NOPERM at all'],
  [replyError(UNKNOWN), "ERR unknown command 'SAY' (NOPERM)"],
  [Object.assign(new Error('no'), { code: 'a code of several words' }), 'no'],
  ['a text', 'a text'],
  ['a text\n[12:00] a line\x1b[2J', 'a text\\u000a[12:00] a line\\u001b[2J'],
  [undefined, 'undefined'],
  [{ secret: 'hidden' }, 'an object'],
]
for (const [failure, text] of texts) {
  test(`a log shows ${JSON.stringify(text)} of a failure, and no more`, () => {
    assert.equal(formatLogLine(failure), text)
  })
}

test('a text of a peer is escaped where it could forge a line, or steer a terminal', () => {
  const forging = [
    '\r',
    '\n',
    '\t',
    '\0',
    '\x1b',
    '\x7f',
    '\x85',
    '\x9b',
    '\u2028',
    '\u2029',
    '\u202e',
    '\u2066',
  ]
  for (const unit of forging) assert.match(escapeText(`a${unit}b`), /^a\\u[0-9a-f]{4}b$/)
  assert.equal(escapeText('Grüße, ¿qué? 你好 👩‍👩‍👧'), 'Grüße, ¿qué? 你好 👩‍👩‍👧')
  assert.equal(describeValue('\x9b2J\u202e'), '"\\u009b2J\\u202e"')
})

test('a report has the stacks and codes of an error and of its causes, and nothing else of them', () => {
  const error = new WebsocketError('the backplane failed', { cause: replyError(UNKNOWN) })
  const lines = formatReport(error).split('\n')
  assert.equal(lines[0], 'WebsocketError: the backplane failed')
  assert.match(lines[1] ?? '', /^ {4}at .*format\.spec/)
  assert.ok(lines.includes("[cause]: ReplyError: ERR unknown command 'SAY'"))
  assert.match(lines.at(-1) ?? '', / \{ code: 'NOPERM' \}$/)
  assert.doesNotMatch(formatReport(error), /hidden/)
})

test('a report has the stack that an error and its cause share once', () => {
  const report = formatReport(new CallbackError(new TypeError('boom'), { event: 'message' }))
  const at = report.split('\n').filter((line) => line.includes('format.spec'))
  assert.equal(at.length, 1)
  assert.match(report, /^CallbackError: boom\n {4}at /)
  assert.match(
    report,
    /\{ code: 'ERR_LISTENER_FAILED', event: 'message' \}\n\[cause\]: TypeError: boom$/,
  )
})

test('a report of an error without a message says its kind, and all of several', () => {
  const both = new AggregateError([new Error('IPv4'), new Error('IPv6')])
  assert.match(formatReport(new RangeError()), /^RangeError: RangeError\n/)
  assert.match(formatReport(both), /^AggregateError: IPv4; IPv6\n/)
  const bare = new Error('bare')
  Object.assign(bare, { stack: undefined })
  assert.equal(formatReport(bare), 'Error: bare')
})

test('a report of an error that is its own cause ends', () => {
  const error = new Error('round')
  error.cause = error
  assert.equal(formatReport(error).split('[cause]').length, 10)
  assert.equal(withoutCommand(error), error)
})

test('console.log of an error of this package shows its report', () => {
  const error = new ConnectError('refused', {
    status: 401,
    headers: { 'set-cookie': 'hidden' },
    body: 'hidden',
    cause: replyError(),
  })
  assert.equal(inspect(error), formatReport(error))
  assert.match(inspect(error), /\{ code: 'ERR_CONNECT_FAILED', status: 401 \}/)
  assert.doesNotMatch(inspect({ error }), /hidden/)
})

test('an error that keeps a command is copied without it; any other stays what it is', () => {
  const original = replyError(UNKNOWN)
  const copy = withoutCommand(original)
  assert.ok(copy instanceof Error && copy !== original)
  assert.equal(copy.name, 'ReplyError')
  assert.equal(copy.message, "ERR unknown command 'SAY'")
  assert.equal('code' in copy && copy.code, 'NOPERM')
  assert.match(copy.stack ?? '', /format\.spec/)
  assert.doesNotMatch(inspect(copy, { showHidden: true }), /hidden/)
  const other = new Error('no way')
  assert.equal(withoutCommand(other), other)
  assert.equal(withoutCommand('no way'), 'no way')
})

test('an error whose cause keeps a command is copied, too', () => {
  const copy = withoutCommand(new Error('the store failed', { cause: replyError() }))
  assert.ok(copy instanceof Error)
  assert.equal(copy.message, 'the store failed')
  assert.ok(copy.cause instanceof Error && !('command' in copy.cause))
})
