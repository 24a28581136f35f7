import assert from 'node:assert/strict'
import { test } from 'node:test'
import { requestHeaders, RequestDetails } from '../../../lib/server/handshake/request.ts'

function asked(url: string, ...rawHeaders: string[]): RequestDetails {
  return new RequestDetails({ url, rawHeaders, remoteAddress: '192.0.2.1' })
}

/** Options that the types forbid. */
const given = (options: object): {} => options

const base64 = (text: string | readonly number[]): string =>
  (typeof text === 'string' ? Buffer.from(text) : Buffer.from(text)).toString('base64')

test('a request knows its target and its peer', () => {
  const request = asked('/chat?room=1')
  assert.equal(request.url, '/chat?room=1')
  assert.equal(request.remoteAddress, '192.0.2.1')
})

const paths: [url: string, path: string][] = [
  ['/chat', '/chat'],
  ['/chat/?room=1', '/chat/'],
  ['/caf%C3%A9', '/caf%C3%A9'],
  ['//', '//'],
  ['http://example.com/chat?room=1', '/chat'],
  ['ws://example.com/chat?room=1', '/chat'],
  ['wss://example.com:8443/chat', '/chat'],
  ['WSS://example.com/chat', '/chat'],
  ['wss://example.com', '/'],
  ['wss://example.com?room=1', '/'],
  ['http://example.com/ws://other.com/chat', '/ws://other.com/chat'],
  ['/%00', ''],
  ['/%zz', ''],
]

for (const [url, path] of paths) {
  test(`the path of ${url} is ${path || 'empty'}`, () => {
    assert.equal(asked(url).path, path)
  })
}

test('the params of the path are those that were found', () => {
  const params = new Map([['room', '1']])
  const request = new RequestDetails({ url: '/', rawHeaders: [], remoteAddress: '' }, params)
  assert.equal(request.params.room, '1')
  assert.equal(request.params.constructor, undefined)
})

test('a path without params has none', () => {
  assert.deepEqual(Object.keys(asked('/').params), [])
})

test('a param called __proto__ is just a param', () => {
  const params = new Map([['__proto__', 'evil']])
  const request = new RequestDetails({ url: '/', rawHeaders: [], remoteAddress: '' }, params)
  assert.deepEqual(Object.entries(request.params), [['__proto__', 'evil']])
  assert.equal(Object.getPrototypeOf(request.params), null)
})

const headers: [what: string, raw: string[], headers: [string, string][]][] = [
  ['none', [], []],
  [
    'names of any case',
    ['X-One', '1', 'x-TWO', '2'],
    [
      ['x-one', '1'],
      ['x-two', '2'],
    ],
  ],
  ['a name twice', ['X-One', '1', 'x-one', '2'], [['x-one', '1, 2']]],
  ['a name three times', ['a', '1', 'A', '2', 'a', '3'], [['a', '1, 2, 3']]],
  ['two empty values', ['a', '', 'a', ''], [['a', ', ']]],
  ['cookies twice', ['Cookie', 'a=1', 'cookie', 'b=2'], [['cookie', 'a=1; b=2']]],
  [
    'two origins',
    ['Origin', 'https://a', 'Origin', 'https://b'],
    [['origin', 'https://a, https://b']],
  ],
  ['a name without a value', ['a', '1', 'b'], [['a', '1']]],
  ['__proto__', ['__proto__', 'evil', '__PROTO__', 'too'], [['__proto__', 'evil, too']]],
  ['constructor', ['constructor', 'evil'], [['constructor', 'evil']]],
]

for (const [what, raw, entries] of headers) {
  test(`headers are gathered: ${what}`, () => {
    const request = asked('/', ...raw)
    assert.deepEqual(Object.entries(request.headers), entries)
    assert.equal(Object.getPrototypeOf(request.headers), null)
    assert.equal(request.headers, request.headers)
  })
}

test('two thousand headers are gathered', () => {
  const raw = Array.from({ length: 2_000 }, (_, index) => [`x-${index}`, String(index)]).flat()
  const request = asked('/', ...raw, ...raw)
  assert.equal(Object.keys(request.headers).length, 2_000)
  assert.equal(request.headers['x-1999'], '1999, 1999')
})

const queries: [url: string, entries: [string, string][]][] = [
  ['/', []],
  ['/?', []],
  [
    '/?vsn=1&vsn=2',
    [
      ['vsn', '1'],
      ['vsn', '2'],
    ],
  ],
  ['/?vsn[]=', [['vsn[]', '']]],
  ['/?token', [['token', '']]],
  [
    '/?a=b?c&d=e?',
    [
      ['a', 'b?c'],
      ['d', 'e?'],
    ],
  ],
  [
    '/?a=%zz&b=%FF&c=%00',
    [
      ['a', '%zz'],
      ['b', '\ufffd'],
      ['c', '\0'],
    ],
  ],
  ['/?a+b=c%20d', [['a b', 'c d']]],
  ['/?__proto__=evil', [['__proto__', 'evil']]],
  ['//?a=1', [['a', '1']]],
  ['wss://example.com/?a=1', [['a', '1']]],
]

for (const [url, entries] of queries) {
  test(`the query of ${url} is read in order, doubles included`, () => {
    const request = asked(url)
    assert.deepEqual([...request.query], entries)
    assert.equal(request.query, request.query)
  })
}

const cookies: [header: string, entries: [string, string][]][] = [
  ['', []],
  ['a=1', [['a', '1']]],
  [
    'a=1; b=2',
    [
      ['a', '1'],
      ['b', '2'],
    ],
  ],
  [
    'a=1;b=2',
    [
      ['a', '1'],
      ['b', '2'],
    ],
  ],
  [
    ' a = 1 ; b=2 ',
    [
      ['a', '1'],
      ['b', '2'],
    ],
  ],
  ['a=1; a=2', [['a', '1']]],
  ['a=; a=2', [['a', '']]],
  ['a=b=c==', [['a', 'b=c==']]],
  ['a="quoted"', [['a', 'quoted']]],
  ['a="two words"', [['a', 'two words']]],
  ['a=%C3%A9', [['a', 'é']]],
  [
    'a=%E0; b=%; c=%zz',
    [
      ['a', '%E0'],
      ['b', '%'],
      ['c', '%zz'],
    ],
  ],
  ['a=%00', [['a', '\0']]],
  [
    'A=1; a=2',
    [
      ['A', '1'],
      ['a', '2'],
    ],
  ],
  ['flag; a=1', [['a', '1']]],
  ['=1; a=2', [['a', '2']]],
  ['; ;;=;', []],
  [
    '__proto__=evil; constructor=too',
    [
      ['__proto__', 'evil'],
      ['constructor', 'too'],
    ],
  ],
]

for (const [header, entries] of cookies) {
  test(`the cookies of ${JSON.stringify(header)} are read`, () => {
    const request = asked('/', 'Cookie', header)
    assert.deepEqual(Object.entries(request.cookies), entries)
    assert.equal(Object.getPrototypeOf(request.cookies), null)
    assert.equal(request.cookies, request.cookies)
  })
}

test('a request without cookies has none', () => {
  assert.deepEqual(Object.keys(asked('/').cookies), [])
})

test('of two cookie headers the first one counts', () => {
  const request = asked('/', 'Cookie', 'a=1', 'Cookie', 'a=2; b=3')
  assert.deepEqual(Object.entries(request.cookies), [
    ['a', '1'],
    ['b', '3'],
  ])
})

const protocols: [header: string, names: string[]][] = [
  ['chat', ['chat']],
  ['chat, talk', ['chat', 'talk']],
  ['chat,talk', ['chat', 'talk']],
  [' chat ,\ttalk ', ['chat', 'talk']],
  ['', []],
  [',,', []],
  ['chat,,talk', ['chat', 'talk']],
  ['chat, chat', ['chat', 'chat']],
  [' '.repeat(32_000), []],
  [`a${' '.repeat(32_000)}b`, [`a${' '.repeat(32_000)}b`]],
]

for (const [header, names] of protocols) {
  const text = JSON.stringify(header.replace(/ {32000}/, '32,000 spaces'))
  test(`the subprotocols of ${text} are read in order`, () => {
    assert.deepEqual(asked('/', 'Sec-WebSocket-Protocol', header).protocols, names)
  })
}

test('a thousand subprotocols are read, over two headers', () => {
  const names = Array.from({ length: 1_000 }, (_, index) => `p${index}`)
  const name = 'Sec-WebSocket-Protocol'
  const request = asked('/', name, names.slice(0, 500).join(), name, names.slice(500).join())
  assert.deepEqual(request.protocols, names)
})

test('a request that offers no subprotocol has none', () => {
  assert.deepEqual(asked('/').protocols, [])
})

const credentials: [what: string, header: string, username: string, password: string][] = [
  ['plain', `Basic ${base64('name:secret')}`, 'name', 'secret'],
  ['with a scheme in another case', `bAsIc ${base64('name:secret')}`, 'name', 'secret'],
  ['after two spaces', `Basic  ${base64('name:secret')}`, 'name', 'secret'],
  ['with colons in the password', `Basic ${base64('name:a:b::c:')}`, 'name', 'a:b::c:'],
  ['without a password', `Basic ${base64('name:')}`, 'name', ''],
  ['without a name', `Basic ${base64(':secret')}`, '', 'secret'],
  ['with a line break in the password', `Basic ${base64('name:a\nb')}`, 'name', 'a\nb'],
  ['in UTF-8', `Basic ${base64('näme:sécret€')}`, 'näme', 'sécret€'],
  ['with a byte order mark', `Basic ${base64('\ufeffname:x')}`, '\ufeffname', 'x'],
  ['with one letter of padding', `Basic ${base64('ab:cd')}`, 'ab', 'cd'],
  ['with two letters of padding', `Basic ${base64('a:bc')}`, 'a', 'bc'],
  ['without its padding', `Basic ${base64('ab:cd').replace('=', '')}`, 'ab', 'cd'],
  ['in the usual alphabet', 'Basic Pj8+Pzo/Pz4+', '>?>?', '??>>'],
  ['in the alphabet of urls', 'Basic Pj8-Pzo_Pz4-', '>?>?', '??>>'],
  ['called __proto__', `Basic ${base64('__proto__:x')}`, '__proto__', 'x'],
]

for (const [what, header, username, password] of credentials) {
  test(`credentials are read from the header: ${what}`, () => {
    assert.deepEqual(asked('/', 'Authorization', header).basicAuth(), { username, password })
  })
}

const noCredentials: [what: string, header: string][] = [
  ['another scheme', 'Bearer bmFtZTpzZWNyZXQ='],
  ['a scheme that only begins like it', 'Basically bmFtZTpzZWNyZXQ='],
  ['no scheme', 'bmFtZTpzZWNyZXQ='],
  ['nothing behind the scheme', 'Basic'],
  ['no colon', `Basic ${base64('name')}`],
  ['no base64', 'Basic !!!!'],
  ['too much padding', 'Basic YTpi===='],
  ['padding in the middle', 'Basic YT==pi'],
  ['too little of it', 'Basic Y'],
  ['bytes that are not UTF-8', `Basic ${base64([0x61, 0x3a, 0xff])}`],
  ['two headers', `Basic ${base64('a:b')}, Basic ${base64('c:d')}`],
  ['empty', ''],
]

for (const [what, header] of noCredentials) {
  test(`there are no credentials in the header: ${what}`, () => {
    assert.equal(asked('/', 'Authorization', header).basicAuth(), undefined)
  })
}

test('two Authorization headers carry no credentials', () => {
  const header = ['Authorization', `Basic ${base64('name:secret')}`]
  assert.equal(asked('/', ...header, ...header).basicAuth(), undefined)
})

const asksInQuery: [
  url: string,
  names: { username?: string; password?: string } | undefined,
  found: [username: string, password: string] | undefined,
][] = [
  ['/?username=a&password=b', undefined, ['a', 'b']],
  ['/?username=a%3Ab&password=c:d', undefined, ['a:b', 'c:d']],
  ['/?username=&password=', undefined, ['', '']],
  ['/?user=a&pass=b', { username: 'user', password: 'pass' }, ['a', 'b']],
  ['/?user=a&password=b', { username: 'user' }, ['a', 'b']],
  ['/?username=a&pass=b', { password: 'pass' }, ['a', 'b']],
  ['/?username=a&password=b', { username: 'user', password: 'pass' }, undefined],
  ['/?username=a', undefined, undefined],
  ['/?password=b', undefined, undefined],
  ['/', undefined, undefined],
]

for (const [url, names, found] of asksInQuery) {
  const called = names ? ` called ${Object.values(names).join(' and ')}` : ''
  test(`${found ? 'there are' : 'there are no'} credentials${called} in ${url}, read only when asked for`, () => {
    const expected = found && { username: found[0], password: found[1] }
    assert.deepEqual(asked(url).basicAuth({ query: names ?? true }), expected)
    assert.equal(asked(url).basicAuth(), undefined)
    assert.equal(asked(url).basicAuth({ query: false }), undefined)
  })
}

test('credentials in the header come before those in the query', () => {
  const request = asked('/?username=a&password=b', 'Authorization', `Basic ${base64('c:d')}`)
  assert.deepEqual(request.basicAuth({ query: true }), { username: 'c', password: 'd' })
})

const phoenix = (encoded: string): string => `phoenix, base64url.bearer.phx.${encoded}`

const tokens: [what: string, url: string, headers: string[], token: string | undefined][] = [
  ['none', '/', [], undefined],
  ['in the header', '/', ['Authorization', 'Bearer abc.def'], 'abc.def'],
  ['with a scheme in another case', '/', ['Authorization', 'bearer abc'], 'abc'],
  ['of two words', '/', ['Authorization', 'Bearer abc def'], undefined],
  ['of nothing', '/', ['Authorization', 'Bearer '], undefined],
  ['of another scheme', '/', ['Authorization', `Basic ${base64('a:b')}`], undefined],
  ['in two headers', '/', ['Authorization', 'Bearer a', 'Authorization', 'Bearer b'], undefined],
  ['in the subprotocol', '/', ['Sec-WebSocket-Protocol', phoenix('YWJj')], 'abc'],
  ['with padding', '/', ['Sec-WebSocket-Protocol', phoenix('YWI=')], 'ab'],
  ['without padding', '/', ['Sec-WebSocket-Protocol', phoenix('YWI')], 'ab'],
  ['in the alphabet of urls', '/', ['Sec-WebSocket-Protocol', phoenix('Pj8-Pw')], '>?>?'],
  ['in the usual alphabet', '/', ['Sec-WebSocket-Protocol', phoenix('Pj8+Pw')], '>?>?'],
  ['in UTF-8', '/', ['Sec-WebSocket-Protocol', phoenix(base64('é€'))], 'é€'],
  ['not in UTF-8', '/', ['Sec-WebSocket-Protocol', phoenix(base64([0xff]))], undefined],
  ['not in base64', '/?token=abc', ['Sec-WebSocket-Protocol', phoenix('!!')], undefined],
  ['of other subprotocols', '/', ['Sec-WebSocket-Protocol', 'phoenix, YWJj'], undefined],
  ['in the query', '/?token=abc', [], 'abc'],
  ['in the query, escaped', '/?token=a%2Bb', [], 'a+b'],
  ['in the query, empty', '/?token', [], ''],
  ['in the query twice', '/?token=abc&token=def', [], undefined],
  ['in the query twice, the second empty', '/?token=abc&token', [], undefined],
  ['in the query, of another name', '/?token[]=abc&Token=def', [], undefined],
  ['in the query beside credentials', '/?token=abc', ['Authorization', 'Basic YTpi'], 'abc'],
]

for (const [what, url, rawHeaders, token] of tokens) {
  test(`a token ${what}, is ${token === undefined ? 'none' : JSON.stringify(token)}, and in a query only when asked for`, () => {
    const request = asked(url, ...rawHeaders)
    assert.equal(request.token({ query: true }), token)
    assert.equal(request.token(), what.startsWith('in the query') ? undefined : token)
  })
}

test('a token in the header comes before the subprotocol, and that before the query', () => {
  const offered = ['Sec-WebSocket-Protocol', phoenix(base64('second'))]
  assert.equal(asked('/?token=third', ...offered).token({ query: true }), 'second')
  const request = asked('/?token=third', ...offered, 'Authorization', 'Bearer first')
  assert.equal(request.token({ query: true }), 'first')
})

for (const [what, read, message] of [
  [
    'a name of old',
    (request) => request.basicAuth(given({ username: 'user' })),
    /^unknown option `username`/,
  ],
  [
    'a misspelt option',
    (request) => request.token(given({ qury: true })),
    /did you mean `query`\?$/,
  ],
  [
    'a text',
    (request) => request.token(given({ query: 'token' })),
    /`query` to be true or false, got "token"$/,
  ],
  [
    'a list',
    (request) => request.basicAuth(given({ query: ['user'] })),
    /as names, got an array of 1$/,
  ],
  [
    'a misspelt name',
    (request) => request.basicAuth(given({ query: { user: 'a' } })),
    /^unknown option `query.user`/,
  ],
  [
    'a number',
    (request) => request.basicAuth(given({ query: { username: 1 } })),
    /a name in `query` to be a string, got 1$/,
  ],
] as [string, (request: RequestDetails) => unknown, RegExp][]) {
  test(`where credentials are read can't be ${what}`, () => {
    assert.throws(() => read(asked('/')), { name: 'TypeError', message })
  })
}

test('credentials in a query that were not asked for are noticed', () => {
  const request = asked('/?token=a&username=b&password=c')
  assert.equal(request.ignoredQuery, undefined)
  request.token()
  assert.equal(request.ignoredQuery, 'token')
  request.basicAuth()
  assert.equal(request.ignoredQuery, 'basicAuth')
  const other = asked('/?token=a')
  other.token({ query: true })
  other.basicAuth()
  assert.equal(other.ignoredQuery, undefined)
})

test('a client asks with its host, its own headers and what it offers', () => {
  const url = new URL('wss://example.com:8443/chat')
  assert.deepEqual(requestHeaders(url, { 'X-One': '1', 'X-Two': '2' }, ['chat', 'talk']), [
    ...['host', 'example.com:8443'],
    ...['X-One', '1', 'X-Two', '2'],
    ...['sec-websocket-protocol', 'chat, talk'],
  ])
})

test('a client that offers no subprotocol says nothing of it', () => {
  assert.deepEqual(requestHeaders(new URL('ws://example.com/'), {}, []), ['host', 'example.com'])
})

test('a NUL in a packed header makes no header of its own', () => {
  const request = asked('/', 'X-Odd', 'a\0Authorization\0Bearer forged', 'Host', 'a.example')
  const before = { ...request.headers }
  request.pack()
  assert.deepEqual({ ...request.headers }, before)
  assert.equal(request.token(), undefined)
})

test('packed headers are as they came', () => {
  const rawHeaders = ['Host', 'a.example', 'X-Empty', '', 'Cookie', 'a=1', 'cookie', 'b=2']
  const [packed, loose] = [asked('/', ...rawHeaders), asked('/', ...rawHeaders)]
  assert.equal(packed.headers.host, 'a.example') // also where they were read before
  packed.pack()
  assert.deepEqual(packed.headers, loose.headers)
  assert.equal(packed.header('x-empty'), '')
  assert.equal(packed.cookies.b, '2')
  const none = asked('/')
  none.pack()
  assert.deepEqual({ ...none.headers }, {})
})
