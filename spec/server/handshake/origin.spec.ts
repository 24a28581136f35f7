import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isOriginPattern, originAllowed, originCure } from '../../../lib/server/handshake/origin.ts'
import { RequestDetails } from '../../../lib/server/handshake/request.ts'

const patterns: [pattern: unknown, is: boolean][] = [
  ['https://good.com', true],
  ['https://good.com:8443', true],
  ['HTTPS://Good.COM', true],
  ['good.com', true],
  ['good.com:8443', true],
  ['*.good.com', true],
  ['https://*.good.com', true],
  ['localhost', true],
  ['127.0.0.1', true],
  ['[::1]', true],
  ['https://[2001:db8::1]:8443', true],
  ['https://xn--bcher-kva.example', true],
  ['chrome-extension://abcdefghijklmnop', true],
  ['null', true],
  ['', false],
  ['*', false], // stands alone, never in a list
  ['https://*', false],
  ['*.', false],
  ['a.*.good.com', false],
  ['**.good.com', false],
  ['https://', false],
  ['file://', false],
  ['https://good.com/', false],
  ['https://good.com/chat', false],
  ['https://good.com?', false],
  ['https://good.com, https://better.com', false],
  ['https://name@good.com', false],
  ['https://bücher.example', false], // browsers send punycode
  ['good.com:', false],
  ['good.com:https', false],
  ['good .com', false],
  [' good.com', false],
  ['good.com\n', false],
  [5, false],
  [null, false],
  [undefined, false],
  [/good/, false],
]

for (const [pattern, is] of patterns) {
  const text = typeof pattern === 'string' ? JSON.stringify(pattern) : String(pattern)
  test(`${text} is ${is ? 'an' : 'no'} origin to allow`, () => {
    assert.equal(isOriginPattern(pattern), is)
  })
}

const HOST = 'example.com'
const GOOD = ['https://good.com']
const GOODS = ['*.good.com']

const cases: [origin: string, allowed: readonly string[] | '*', is: boolean, host?: string][] = [
  // In the list, or not.
  ['https://good.com', GOOD, true],
  ['https://good.com', [], false],
  ['https://evil.com', GOOD, false],
  ['https://evil.com', [], false],
  ['https://evil.com', '*', true],
  ['https://good.com', ['https://better.com', 'https://good.com'], true],
  // A page of an opaque origin.
  ['null', [], false],
  ['null', GOOD, false],
  ['null', ['null'], true],
  ['null', '*', true],
  ['null', [], false, 'null'],
  ['null, null', ['null'], false],
  // A page of no origin at all.
  ['file://', [], false],
  ['file://', GOOD, false],
  ['file://', GOODS, false],
  ['file://', '*', true],
  ['file:///etc/passwd', GOOD, false],
  ['', [], false],
  ['', GOOD, false],
  ['', [], false, ''],
  ['', '*', true],
  // Upper case.
  ['HTTPS://GOOD.COM', GOOD, true],
  ['https://Good.com', GOOD, true],
  ['https://good.com', ['HTTPS://GOOD.COM'], true],
  ['https://A.GOOD.COM', GOODS, true],
  ['https://EXAMPLE.com', [], true],
  ['https://example.com', [], true, 'EXAMPLE.COM'],
  ['NULL', ['null'], false],
  // Ports.
  ['https://good.com:8443', GOOD, false],
  ['https://good.com:443', GOOD, true],
  ['https://good.com:80', GOOD, false],
  ['https://good.com:4433', GOOD, false],
  ['https://good.com:8443', ['https://good.com:8443'], true],
  ['https://good.com', ['https://good.com:8443'], false],
  ['https://good.com', ['https://good.com:443'], true],
  ['http://good.com', ['http://good.com:80'], true],
  ['https://a.good.com:8443', GOODS, false],
  ['https://a.good.com:8443', ['*.good.com:8443'], true],
  ['https://example.com:8443', [], false],
  ['https://example.com:8443', [], true, 'example.com:8443'],
  ['http://localhost:3000', [], false, 'localhost:8080'],
  // Schemes.
  ['http://good.com', GOOD, false],
  ['http://good.com', ['good.com'], true],
  ['https://good.com', ['good.com'], true],
  ['chrome-extension://abc', ['chrome-extension://abc'], true],
  ['moz-extension://abc', ['chrome-extension://abc'], false],
  ['good.com', GOOD, false],
  ['//good.com', GOOD, false],
  ['javascript:alert(1)', GOOD, false],
  // Names that look like others.
  ['https://good.com.evil.com', GOOD, false],
  ['https://good.com.evil.com', GOODS, false],
  ['https://good.com.evil.com', ['good.com'], false],
  ['https://evilgood.com', GOOD, false],
  ['https://evilgood.com', GOODS, false],
  ['https://evil.com#good.com', GOODS, false],
  ['https://evil.com/.good.com', GOODS, false],
  ['https://evil.com?.good.com', GOODS, false],
  ['https://good.com@evil.com', GOOD, false],
  ['https://good.com@evil.com', GOODS, false],
  ['https://good.com:443@evil.com', GOOD, false],
  ['https://evil.com@good.com', GOOD, false],
  ['https://goodxcom', GOOD, false],
  ['https://good.com\n', GOOD, false],
  ['https://good.com ', GOOD, false],
  // A wildcard is for what is below a name, at any depth.
  ['https://a.good.com', GOODS, true],
  ['http://a.good.com', GOODS, true],
  ['https://b.a.good.com', GOODS, true],
  ['https://good.com', GOODS, false],
  ['https://.good.com', GOOD, false],
  ['http://a.good.com', ['https://*.good.com'], false],
  ['https://a.good.com', ['https://*.good.com'], true],
  ['https://*.good.com', GOODS, false],
  ['https://*.good.com', GOOD, false],
  // A trailing dot is another name.
  ['https://good.com.', GOOD, false],
  ['https://a.good.com.', GOODS, false],
  ['https://example.com.', [], false],
  ['https://good.com', ['https://good.com.'], false],
  // Punycode stays what it is.
  ['https://xn--bcher-kva.example', ['https://xn--bcher-kva.example'], true],
  ['https://bücher.example', ['https://xn--bcher-kva.example'], false],
  ['https://xn--god-jma.com', GOOD, false],
  ['https://gооd.com', GOOD, false], // with two letters of another alphabet
  ['https://xn--a.good.com', GOODS, true],
  // The server's own host.
  ['https://example.com', [], true],
  ['http://example.com', [], true],
  ['http://example.com', GOOD, true],
  ['https://www.example.com', [], false],
  ['https://example.com.evil.com', [], false],
  ['https://evilexample.com', [], false],
  ['https://example.com', [], true, 'example.com:443'],
  ['http://example.com', [], true, 'example.com:80'],
  ['http://example.com', [], false, 'example.com:443'],
  ['http://localhost:8080', [], true, 'localhost:8080'],
  ['http://127.0.0.1:8080', [], true, '127.0.0.1:8080'],
  ['http://[::1]:8080', [], true, '[::1]:8080'],
  ['http://[::1]:8080', [], false, '[::2]:8080'],
  ['https://evil.com', [], false, 'example.com, evil.com'],
  ['https://evil.com', [], false, ''],
  // The host that a peer sends is a host, never a pattern.
  ['https://evil.example.com', [], false, '*.example.com'],
  ['https://example.com', [], false, 'https://example.com'],
]

for (const [origin, allowed, is, host = HOST] of cases) {
  const list = allowed === '*' ? '*' : `[${allowed.join(', ')}]`
  const door = `${JSON.stringify(origin)} ${is ? 'may' : "mayn't"} connect to ${host || 'no host'}`
  test(`a page of ${door} that allows ${list}`, () => {
    assert.equal(originAllowed(origin, host, allowed), is)
  })
}

for (const [origin, allowed, option] of [
  ['http://localhost:5173', [], "{ origins: ['http://localhost:5173'] }"],
  ['http://localhost:5173', ['https://a.com'], "'http://localhost:5173' in `origins`"],
  ['null', [], "{ origins: ['null'] }"],
] as const) {
  test(`the cure of a refused page of ${origin}, allowed [${allowed.join()}], is ${option}`, () => {
    const cure = originCure(origin, allowed)
    assert.match(cure ?? '', /^a page of \S+ was refused with 403, because/)
    assert.ok(cure?.endsWith(`give the server the option ${option}.`), cure)
    assert.ok(originAllowed(origin, HOST, [...allowed, origin]))
  })
}

for (const origin of [
  '',
  'file://',
  'evil.com',
  'http://*.evil.com',
  'http://a b',
  '*',
  '\x9b31m',
]) {
  test(`a refused origin ${JSON.stringify(origin)} has no cure: no entry would let it in`, () => {
    assert.equal(originCure(origin, []), undefined)
  })
}

test('an origin that is too long to be one has no cure', () => {
  assert.equal(originCure(`http://${'x'.repeat(300)}`, []), undefined)
})

test('without a host only the list counts', () => {
  assert.equal(originAllowed('https://good.com', undefined, GOOD), true)
  assert.equal(originAllowed('https://example.com', undefined, GOOD), false)
  assert.equal(originAllowed('https://undefined', undefined, []), false)
})

function headersWith(...origins: string[]): Readonly<Record<string, string>> {
  const rawHeaders = ['Host', HOST, ...origins.flatMap((origin) => ['Origin', origin])]
  return new RequestDetails({ url: '/', rawHeaders, remoteAddress: '127.0.0.1' }).headers
}

test('an absent origin is not an empty one: there is nothing to ask about', () => {
  assert.equal(headersWith().origin, undefined)
  assert.equal(headersWith('').origin, '')
})

const twice: [first: string, second: string][] = [
  ['https://good.com', 'https://evil.com'],
  ['https://evil.com', 'https://good.com'],
  ['https://good.com', 'https://good.com'],
  ['https://evil.com', 'https://a.good.com'],
  ['https://example.com', 'https://evil.com'],
  ['null', 'https://good.com'],
]

for (const [first, second] of twice) {
  test(`a request with the origins ${first} and ${second} is of no origin we know`, () => {
    const { origin = '' } = headersWith(first, second)
    assert.equal(origin, `${first}, ${second}`)
    assert.equal(originAllowed(origin, HOST, [...GOOD, ...GOODS, 'null']), false)
  })
}

test('two policies side by side never mix, in either order', () => {
  const one = ['https://one.com']
  const other = ['https://other.com']
  for (const [first, second] of [
    [one, other],
    [other, one],
  ] as const) {
    for (let again = 0; again < 2; again++) {
      assert.equal(originAllowed('https://one.com', HOST, first), first === one)
      assert.equal(originAllowed('https://one.com', HOST, second), second === one)
      assert.equal(originAllowed('https://other.com', HOST, '*'), true)
      assert.equal(originAllowed('https://other.com', HOST, first), first === other)
      assert.equal(originAllowed('https://other.com', HOST, second), second === other)
    }
  }
})
