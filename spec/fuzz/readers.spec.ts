import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  closeReason,
  cutText,
  isSendableCloseCode,
  sendableReason,
} from '../../lib/connection/close-codes.ts'
import { isOriginPattern, originAllowed } from '../../lib/server/handshake/origin.ts'
import { isPathPattern, matchPath, pathOf, pathsOverlap } from '../../lib/server/handshake/path.ts'
import { RequestDetails } from '../../lib/server/handshake/request.ts'
import { runs, textOf } from './chance.ts'

const bytesOf = (text: string): number => Buffer.byteLength(text)
const isWhole = (text: string): boolean => Buffer.from(text).toString() === text
const whole = fc.string({ unit: 'grapheme' }).filter(isWhole)

// Origins

const origins = textOf(
  ...(['https://', 'http://', 'good.com', 'evil.com', '.', '*.', '@', ':', ':443', ':80'] as const),
  ...['/', '\\', '?', '#', '%2e', 'xn--', 'null', '[::1]', '\0', ' ', ',', 'GOOD.com', '\n'],
)

test('an origin that a list lets in is, to a browser, one of its hosts', () => {
  const patterns = fc.subarray(['https://good.com', '*.good.com', 'good.com:8443'])
  fc.assert(
    fc.property(origins, patterns, (origin, allowed) => {
      if (!originAllowed(origin, undefined, allowed)) return
      const { username, password, hostname, pathname, search, hash } = new URL(origin)
      assert.ok(hostname === 'good.com' || hostname.endsWith('.good.com'), hostname)
      assert.deepEqual([username, password, search, hash], ['', '', '', ''])
      assert.ok(pathname === '/' || pathname === '')
    }),
    runs(5_000),
  )
})

test('an origin is let in as the own host where a browser says the same host', () => {
  fc.assert(
    fc.property(
      origins,
      textOf('good.com', 'evil.com', '.', ':443', ':80', ':'),
      (origin, host) => {
        if (!originAllowed(origin, host, [])) return
        const { hostname } = new URL(origin) // in capitals where its scheme is no browser's own
        assert.equal(hostname.toLowerCase(), new URL(`http://${host}`).hostname)
      },
    ),
    runs(5_000),
  )
})

test('a value that is no pattern lets no origin in, and a pattern is understood', () => {
  fc.assert(
    fc.property(origins, origins, fc.anything(), (text, origin, junk) => {
      assert.equal(typeof isOriginPattern(junk), 'boolean')
      if (!isOriginPattern(text) && text !== 'null') {
        assert.equal(originAllowed(origin, undefined, [text]), false)
      }
    }),
    runs(3_000),
  )
})

// Paths

const patterns = textOf('/', 'a', ':b', ':c', ':', '.', '..', '-', '*', '%41', '?', '#', ' ').map(
  (text) => `/${text}`,
)
const targets = textOf('/', 'a', '..', '%41', '%00', '%', '%ff', '?', '#', 'http://x', 'é', ';')

test('no target is too strange to be matched, or not', () => {
  fc.assert(
    fc.property(fc.anything(), patterns, targets, (junk, pattern, target) => {
      assert.equal(typeof isPathPattern(junk), 'boolean')
      const path = pathOf(target)
      if (path === undefined || !isPathPattern(pattern)) return
      for (const value of matchPath(pattern, path)?.values() ?? []) {
        assert.notEqual(value, '')
        assert.ok(!value.includes('\0'))
      }
    }),
    runs(5_000),
  )
})

test('what is put into a path for its params is what comes out', () => {
  const values = fc.array(
    whole.filter((value) => value !== '' && !value.includes('\0')),
    { minLength: 1, maxLength: 4 },
  )
  fc.assert(
    fc.property(values, fc.boolean(), (given, slash) => {
      const pattern = given.map((_, index) => `/x/:p${index}`).join('')
      const path = given.map((value) => `/x/${encodeURIComponent(value)}`).join('')
      const found = matchPath(pattern, pathOf(path + (slash ? '/?q' : '')) ?? '')
      assert.deepEqual([...(found?.values() ?? [])], given)
    }),
    runs(1_000),
  )
})

test('two patterns that match one path overlap, whichever is asked', () => {
  const simple = fc
    .array(fc.constantFrom('a', 'b', ':p', ':q', ''), { minLength: 1, maxLength: 3 })
    .map((segments) => `/${segments.join('/')}`)
    .filter(isPathPattern)
  const paths = fc
    .array(fc.constantFrom('a', 'b', ''), { minLength: 1, maxLength: 3 })
    .map((segments) => `/${segments.join('/')}`)
  fc.assert(
    fc.property(simple, simple, paths, (one, other, path) => {
      assert.equal(pathsOverlap(one, other), pathsOverlap(other, one))
      if (matchPath(one, path) && matchPath(other, path)) assert.ok(pathsOverlap(one, other))
    }),
    runs(5_000),
  )
})

// Requests

const request = (url: string, rawHeaders: readonly string[]): RequestDetails =>
  new RequestDetails({ url, rawHeaders, remoteAddress: '::1' })

const names = fc.constantFrom('Cookie', 'Authorization', 'Sec-WebSocket-Protocol', '__proto__')
const values = textOf(
  ...(['=', ';', ',', ' ', '"', '%41', '%', '%ff', 'Bearer ', 'Basic ', 'YTpi', ':'] as const),
  ...['base64url.bearer.phx.', '__proto__', 'constructor', '\t', '\\', '-', '_', 'sid'],
).map((text) => text.replaceAll('\0', '')) // which Node refuses in a header, RFC 9110 §5.5

test('no header is too strange for a reader', () => {
  const headers = fc.array(fc.tuple(names, values), { maxLength: 5 })
  fc.assert(
    fc.property(headers, textOf('/', '?', 'token=', '&', '%', '+', 'a', '#'), (given, url) => {
      const details = request(url, given.flat())
      const { cookies, headers: read, protocols, query, params, path } = details
      assert.equal(Object.getPrototypeOf(cookies), null)
      assert.ok(Object.keys(cookies).every((name) => name !== '' && !name.includes(';')))
      assert.ok(protocols.every((name) => name !== '' && name.trim() === name))
      assert.equal(Object.getPrototypeOf(read), null)
      assert.equal(Object.getPrototypeOf(params), null)
      assert.equal(typeof path, 'string')
      const { username, password } = details.basicAuth({ query: true }) ?? {
        username: '',
        password: '',
      }
      for (const text of [
        username,
        password,
        details.token({ query: true }) ?? '',
        ...query.keys(),
      ]) {
        assert.equal(typeof text, 'string')
      }
      details.pack()
      assert.deepEqual(details.headers, read)
    }),
    runs(3_000),
  )
})

test('cookies, credentials and tokens are read as they were written', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.stringMatching(/^[\w-]+$/), whole), whole, (given, secret) => {
      const cookie = Object.entries(given).map(([name, value]) => `${name}=${encoded(value)}`)
      const { cookies } = request('/', ['Cookie', cookie.join('; ')])
      assert.deepEqual({ ...cookies }, { ...given })
      const basic = Buffer.from(`me:${secret}`).toString('base64')
      assert.deepEqual(request('/', ['Authorization', `Basic ${basic}`]).basicAuth(), {
        username: 'me',
        password: secret,
      })
      const phoenix = `base64url.bearer.phx.${Buffer.from(secret).toString('base64url')}`
      assert.equal(request('/', ['Sec-WebSocket-Protocol', `a, ${phoenix}`]).token(), secret)
      assert.equal(request(`/?token=${encoded(secret)}`, []).token({ query: true }), secret)
    }),
    runs(1_000),
  )
})

function encoded(text: string): string {
  return encodeURIComponent(text)
}

// Close texts

test('a text is cut to its bytes at the last character that fits', () => {
  const texts = fc.string({ unit: 'binary', maxLength: 80 })
  fc.assert(
    fc.property(texts, fc.nat({ max: 200 }), (text, most) => {
      const cut = cutText(text, most)
      assert.ok(text.startsWith(cut))
      assert.ok(bytesOf(cut) <= most)
      if (isWhole(text)) assert.ok(isWhole(cut))
      const [next = ''] = text.slice(cut.length)
      if (next !== '') assert.ok(bytesOf(cut + next) > most)
    }),
    runs(3_000),
  )
})

test('a reason fits into a close frame, or is refused', () => {
  const codes = fc.oneof(fc.integer({ min: 900, max: 5_100 }), fc.double(), fc.anything())
  fc.assert(
    fc.property(codes, textOf('[1008]', '[9999]', 'x'.repeat(60), 'ä', '😀'), (code, text) => {
      assert.ok(bytesOf(closeReason(1000, text).description) <= 123)
      try {
        const reason = sendableReason(code as number, text)
        assert.ok(isSendableCloseCode(reason.code))
      } catch (error) {
        assert.ok(error instanceof RangeError || error instanceof TypeError, String(error))
      }
    }),
    runs(3_000),
  )
})
