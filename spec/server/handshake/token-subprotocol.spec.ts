import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  decodeTokenSubprotocol,
  encodeTokenSubprotocol,
  isTokenSubprotocol,
} from '../../../lib/server/handshake/token-subprotocol.ts'

for (const token of [
  '',
  'a',
  'ab',
  'abc',
  '>?>?',
  'é€',
  'a.b-c_d',
  '\u{1f600}',
  'x'.repeat(5_000),
]) {
  test(`a token like ${JSON.stringify(token.slice(0, 10))} travels as a subprotocol`, () => {
    const name = encodeTokenSubprotocol(token)
    assert.match(name, /^[\w.+-]+$/) // a token of RFC 9110 §5.6.2
    assert.equal(isTokenSubprotocol(name), true)
    assert.equal(decodeTokenSubprotocol(name), token)
  })
}

test('other subprotocols carry no token', () => {
  for (const name of ['', 'phoenix', 'chat', 'base64url.bearer.phx', 'xbase64url.bearer.phx.YQ']) {
    assert.equal(isTokenSubprotocol(name), false)
  }
})

test('what is not base64 of UTF-8 is no token', () => {
  for (const encoded of ['!!', '_w', 'YWJjZ']) {
    assert.equal(decodeTokenSubprotocol(`base64url.bearer.phx.${encoded}`), undefined)
  }
})
