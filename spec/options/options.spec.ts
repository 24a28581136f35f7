import assert from 'node:assert/strict'
import { Agent } from 'node:http'
import { test } from 'node:test'
import { areHeaders, areProtocols } from '../../lib/options/value-or-provider.ts'
import { json } from '../../lib/messages/json.ts'
import { resolveClient } from '../../lib/options/node.ts'
import { checkNames } from '../../lib/validation.ts'
import { resolveServer } from '../../lib/options/server.ts'

/** Options that callers in plain JavaScript may pass. */
type Bag = Record<string, unknown>

// Typed too widely on purpose: what the types forbid must be refused all the same.
const makers = {
  server: (options?: unknown): Bag => ({ ...resolveServer(options as object | undefined) }),
  client: (options?: unknown): Bag => ({ ...resolveClient(options as object | undefined) }),
}
type Side = keyof typeof makers
const BOTH: readonly Side[] = ['server', 'client']

const connectionDefaults = {
  maxReceivedFrameSize: false,
  messageTimeout: 30_000,
  fragmentationThreshold: false,
  closeTimeout: 5_000,
  keepaliveTimeout: 20_000,
  useNagleAlgorithm: false,
  binary: false,
  messages: undefined,
  compression: false,
  maxBufferedAmount: 16 * 1024 * 1024,
  slowConsumer: 'close',
  highWaterMark: 64 * 1024,
}

const defaults: Record<Side, Bag> = {
  server: {
    ...connectionDefaults,
    maxReceivedMessageSize: 1024 * 1024,
    maxWaitingBytes: 1024 * 1024,
    path: undefined,
    protocols: [],
    hosts: undefined,
    origins: [],
    authorize: undefined,
    tls: undefined,
    trustProxy: false,
    backplane: undefined,
    handshakeTimeout: 10_000,
    maxConnections: false,
    maxConnectionsPerAddress: false,
    rateLimit: false,
  },
  client: {
    ...connectionDefaults,
    maxReceivedMessageSize: 8 * 1024 * 1024,
    maxWaitingBytes: 8 * 1024 * 1024,
    protocols: [],
    headers: {},
    tls: undefined,
    agent: undefined,
    connectTimeout: 10_000,
    reconnect: false,
  },
}

for (const side of BOTH) {
  const resolve = makers[side]

  for (const [name, fallback] of Object.entries(defaults[side])) {
    test(`${name} of a ${side} is ${JSON.stringify(fallback) ?? 'undefined'} by default`, () => {
      for (const given of [undefined, {}, { [name]: undefined }]) {
        assert.deepEqual(resolve(given)[name], fallback)
      }
    })
  }

  test(`a ${side} has no other options than those with a spec here`, () => {
    const settled = Object.keys(resolve())
    assert.deepEqual(settled.sort(), Object.keys(defaults[side]).sort())
  })

  for (const [given, shown] of [
    [null, 'null'],
    [5, '5'],
    ['binary', '"binary"'],
    [[], 'an array of 0'],
    [() => ({}), 'a function'],
  ]) {
    test(`the options of a ${side} can't be ${String(shown)}`, () => {
      assert.throws(() => resolve(given), {
        name: 'TypeError',
        message: `expected the options to be an object, got ${String(shown)}`,
      })
    })
  }
}

const backplane = { publish: () => {}, subscribe: () => () => {}, close: () => {} }
class Lines {
  publish(): void {}
  subscribe(): void {}
  close(): void {}
}

const BYTES = 'bytes, a whole number from 1 up'
const WHOLE = 'a whole number from 1 up'
const FLAG = 'true or false'
const COMPRESSION =
  'true, false, or { threshold, level (0 to 9), memLevel (1 to 9), ' +
  'serverMaxWindowBits and clientMaxWindowBits (9 to 15), ' +
  'serverNoContextTakeover and clientNoContextTakeover (true or false) }'
const PROTOCOLS = 'an array of different names without space, / and ='
const HEADERS = 'a plain object of strings, or a function that returns one'
const HOSTS =
  "'*', or an array of host names without a port, like example.com, *.example.com or [::1]"
const ORIGINS = "'*', or an array of origins like https://example.com, *.example.com or null"

// Values that no number may be, and how an error shows them.
const noNumbers: [value: unknown, shown: string][] = [
  [-1, '-1'],
  [NaN, 'NaN'],
  [Infinity, 'Infinity'],
  [-Infinity, '-Infinity'],
  ['5000', '"5000"'],
  [5000n, '5000n'],
  [null, 'null'],
  [true, 'true'],
  [{}, 'an object'],
]
const noBytes: typeof noNumbers = [...noNumbers, [0, '0'], [1.5, '1.5']]
const noTruths: typeof noNumbers = [
  ['true', '"true"'],
  [0, '0'],
  [1, '1'],
  [null, 'null'],
]
const notFalse: [unknown, string] = [false, 'false']

interface Case {
  readonly name: string
  readonly of: readonly Side[]
  readonly wanted: string
  readonly accepted: readonly unknown[]
  readonly refused: readonly [value: unknown, shown: string][]
}

const SERVER: readonly Side[] = ['server']
const CLIENT: readonly Side[] = ['client']

const cases: readonly Case[] = [
  {
    name: 'maxReceivedMessageSize',
    of: BOTH,
    wanted: BYTES,
    accepted: [1, 1024, 2 ** 40],
    refused: [...noBytes, notFalse],
  },
  {
    name: 'maxReceivedFrameSize',
    of: BOTH,
    wanted: `${BYTES}, or false`,
    accepted: [1, 65_536, false],
    refused: noBytes,
  },
  {
    name: 'messageTimeout',
    of: BOTH,
    wanted: 'milliseconds from 1 up, or false',
    accepted: [1, 1.5, 2 ** 31 - 1, false],
    refused: noNumbers,
  },
  {
    name: 'fragmentationThreshold',
    of: BOTH,
    wanted: `${BYTES}, or false`,
    accepted: [1, 16_384, false],
    refused: noBytes,
  },
  {
    name: 'closeTimeout',
    of: BOTH,
    wanted: 'milliseconds from 0 up',
    accepted: [0, 0.5, 1, 2 ** 31 - 1],
    refused: [...noNumbers, notFalse],
  },
  {
    name: 'keepaliveTimeout',
    of: BOTH,
    wanted: 'milliseconds from 1 up, or false',
    accepted: [1, 1.5, 30_000, false],
    refused: [...noNumbers, [0, '0'], [0.5, '0.5']],
  },
  { name: 'useNagleAlgorithm', of: BOTH, wanted: FLAG, accepted: [true, false], refused: noTruths },
  { name: 'binary', of: BOTH, wanted: FLAG, accepted: [true, false], refused: noTruths },
  {
    name: 'messages',
    of: BOTH,
    wanted: 'from `json` or `codec`',
    accepted: [json()],
    refused: [
      [json, 'a function'],
      [{ encode: String, decode: String }, 'an object'],
      [null, 'null'],
      ['json', '"json"'],
    ],
  },
  {
    name: 'compression',
    of: BOTH,
    wanted: COMPRESSION,
    accepted: [
      true,
      false,
      {},
      { threshold: 0, level: 0, memLevel: 1, serverMaxWindowBits: 9, clientMaxWindowBits: 9 },
      {
        threshold: 2 ** 40,
        level: 9,
        memLevel: 9,
        serverMaxWindowBits: 15,
        clientMaxWindowBits: 15,
      },
      {
        threshold: undefined,
        level: undefined,
        memLevel: undefined,
        serverMaxWindowBits: undefined,
      },
      { serverNoContextTakeover: false, clientNoContextTakeover: true },
    ],
    refused: [
      ...noTruths,
      [[], 'an array of 0'],
      [{ threshold: -1 }, 'an object'],
      [{ threshold: 0.5 }, 'an object'],
      [{ threshold: Infinity }, 'an object'],
      [{ level: 10 }, 'an object'],
      [{ level: '6' }, 'an object'],
      [{ level: -1 }, 'an object'],
      [{ memLevel: 0 }, 'an object'],
      [{ memLevel: 10 }, 'an object'],
      [{ serverMaxWindowBits: 8 }, 'an object'],
      [{ clientMaxWindowBits: 16 }, 'an object'],
      [{ serverMaxWindowBits: null }, 'an object'],
      [{ serverNoContextTakeover: 1 }, 'an object'],
    ],
  },
  {
    name: 'maxWaitingBytes',
    of: BOTH,
    wanted: BYTES,
    accepted: [1, 2 ** 30],
    refused: [...noBytes, notFalse],
  },
  {
    name: 'maxBufferedAmount',
    of: BOTH,
    wanted: BYTES,
    accepted: [1, 2 ** 30],
    refused: [...noBytes, notFalse],
  },
  {
    name: 'slowConsumer',
    of: BOTH,
    wanted: "'close' or 'drop'",
    accepted: ['close', 'drop'],
    refused: [['wait', '"wait"'], ['', '""'], notFalse],
  },
  {
    name: 'highWaterMark',
    of: BOTH,
    wanted: BYTES,
    accepted: [1, 2 ** 20],
    refused: [...noBytes, notFalse],
  },
  {
    name: 'path',
    of: SERVER,
    wanted: 'a path like /chat/:room',
    accepted: ['/', '/chat/:room'],
    refused: [['chat', '"chat"'], ['', '""'], ['/chat?', '"/chat?"'], notFalse],
  },
  {
    name: 'protocols',
    of: SERVER,
    wanted: PROTOCOLS,
    accepted: [[], ['chat'], ['chat.v1', 'chat.v2'], ["!#$%&'*+-.^_`|~09azAZ"]],
    refused: [
      ['chat', '"chat"'],
      [['chat', 'chat'], 'an array of 2'],
      [['a chat'], 'an array with "a chat"'],
      [['chat', 'chat,talk'], 'an array with "chat,talk"'],
      [['chat/1', 'chat=2'], 'an array with "chat/1"'],
      [[''], 'an array with ""'],
      [['"chat"'], 'an array with "\\"chat\\""'],
      [['café'], 'an array with "café"'],
      [['chat\n'], 'an array with "chat\\n"'],
      [[5], 'an array with 5'],
      [[undefined], 'an array of 1'],
      [new Set(['chat']), 'an instance of Set'],
      [() => ['chat'], 'a function'],
      notFalse,
    ],
  },
  {
    name: 'protocols',
    of: CLIENT,
    wanted: `${PROTOCOLS}, or a function that returns one`,
    accepted: [[], ['chat', 'talk'], () => ['chat']],
    refused: [
      ['chat', '"chat"'],
      [['a', 'a'], 'an array of 2'],
      [['chat', 'base64url.bearer.phx.c2VjcmV0cw=='], 'an array of 2'], // an entry may be a token
      [null, 'null'],
      notFalse,
    ],
  },
  {
    name: 'hosts',
    of: SERVER,
    wanted: HOSTS,
    accepted: ['*', [], ['example.com', '*.example.com', '192.0.2.1', '[::1]', 'my_host']],
    refused: [
      ['example.com', '"example.com"'],
      [['*'], 'an array with "*"'],
      [['example.com:8080'], 'an array with "example.com:8080": did you mean "example.com"?'],
      [['https://example.com'], 'an array with "https://example.com": did you mean "example.com"?'],
      [['::1'], 'an array with "::1"'],
      [['example.com', 5], 'an array with 5'],
      [null, 'null'],
      notFalse,
    ],
  },
  {
    name: 'origins',
    of: SERVER,
    wanted: ORIGINS,
    accepted: ['*', [], ['https://example.com', '*.example.com', 'null', 'localhost:3000']],
    refused: [
      ['https://example.com', '"https://example.com"'],
      ['', '""'],
      [['*'], 'an array with "*"'],
      [
        ['https://example.com', 'http://localhost:5173/'],
        'an array with "http://localhost:5173/": did you mean "http://localhost:5173"?',
      ],
      [['example.com/chat'], 'an array with "example.com/chat": did you mean "example.com"?'],
      [
        ['https://bücher.example'],
        'an array with "https://bücher.example": did you mean "https://xn--bcher-kva.example"?',
      ],
      [['*.example.com/'], 'an array with "*.example.com/": did you mean "*.example.com"?'],
      [['https://*'], 'an array with "https://*"'],
      [['https://example.com', 5], 'an array with 5'],
      [[Object.create(null)], 'an array with an object'],
      [[/example/], 'an array with an instance of RegExp'],
      [new Set(['null']), 'an instance of Set'],
      [true, 'true'],
      notFalse,
    ],
  },
  {
    name: 'authorize',
    of: SERVER,
    wanted: 'a function',
    accepted: [() => true],
    refused: [[true, 'true'], [{}, 'an object'], [null, 'null'], notFalse],
  },
  {
    name: 'tls',
    of: SERVER,
    wanted: 'an object with cert and key',
    accepted: [{ cert: '', key: '' }],
    refused: [[true, 'true'], ['cert.pem', '"cert.pem"'], [null, 'null'], notFalse],
  },
  {
    name: 'tls',
    of: CLIENT,
    wanted: 'an object',
    accepted: [{}, { rejectUnauthorized: false }],
    refused: [[true, 'true'], ['ca.pem', '"ca.pem"'], [null, 'null'], notFalse],
  },
  {
    name: 'trustProxy',
    of: SERVER,
    wanted: 'true, false, or how many proxies there are',
    accepted: [true, false, 0, 1, 3],
    refused: noNumbers.filter(([value]) => value !== true).concat([[0.5, '0.5']]),
  },
  {
    name: 'backplane',
    of: SERVER,
    wanted: 'an object with publish, subscribe and close',
    accepted: [backplane, new Lines()],
    refused: [
      [{}, 'an object'],
      [{ ...backplane, publish: undefined }, 'an object'],
      [{ ...backplane, subscribe: 5 }, 'an object'],
      [{ ...backplane, close: null }, 'an object'],
      [new Map(), 'an instance of Map'],
      [null, 'null'],
      ['redis://localhost', '"redis://localhost"'],
      notFalse,
    ],
  },
  {
    name: 'handshakeTimeout',
    of: SERVER,
    wanted: 'milliseconds from 1 up',
    accepted: [1, 60_000],
    refused: [...noNumbers, [0, '0'], notFalse],
  },
  {
    name: 'maxConnections',
    of: SERVER,
    wanted: `${WHOLE}, or false`,
    accepted: [1, 10_000, false],
    refused: noBytes,
  },
  {
    name: 'maxConnectionsPerAddress',
    of: SERVER,
    wanted: `${WHOLE}, or false`,
    accepted: [1, 100, false],
    refused: noBytes,
  },
  {
    name: 'rateLimit',
    of: SERVER,
    wanted: `false, or { messages, bytes, per, policy: 'close' or 'drop' } with a limit of at least one of both`,
    accepted: [false, { messages: 1 }, { bytes: 10, per: 5, policy: 'drop' }],
    refused: [
      [true, 'true'],
      [5, '5'],
    ],
  },
  {
    name: 'headers',
    of: CLIENT,
    wanted: HEADERS,
    accepted: [{}, { authorization: 'Bearer abc', 'X-Empty': '' }, () => ({}), Object.create(null)],
    refused: [
      [null, 'null'],
      ['authorization: x', '"authorization: x"'],
      [{ authorization: 5 }, 'an object'],
      [{ authorization: undefined }, 'an object'],
      [{ authorization: ['a', 'b'] }, 'an object'],
      // These would pass for an object without any header, or with headers called 0 and 1.
      [['authorization', 'x'], 'an array of 2'],
      [new Map([['authorization', 'x']]), 'an instance of Map'],
      [new Headers({ authorization: 'x' }), 'an instance of Headers'],
      notFalse,
    ],
  },
  {
    name: 'agent',
    of: CLIENT,
    wanted: 'an http.Agent',
    accepted: [new Agent()],
    refused: [[true, 'true'], ['http://proxy', '"http://proxy"'], [null, 'null'], notFalse],
  },
  {
    name: 'connectTimeout',
    of: CLIENT,
    wanted: 'milliseconds from 1 up',
    accepted: [1, 60_000],
    refused: [...noNumbers, [0, '0'], notFalse],
  },
  {
    name: 'reconnect',
    of: CLIENT,
    wanted: 'true, false, or { attempts (from 1 up, or false), delay and when (functions) }',
    accepted: [
      true,
      false,
      {},
      { attempts: 1 },
      { attempts: false },
      { delay: () => 5, when: () => true },
      { attempts: undefined, delay: undefined, when: undefined },
    ],
    refused: [
      [5, '5'],
      ['always', '"always"'],
      [null, 'null'],
      [[], 'an array of 0'],
      [() => true, 'a function'],
      [{ attempts: 0 }, 'an object'],
      [{ attempts: 1.5 }, 'an object'],
      [{ attempts: Infinity }, 'an object'],
      [{ attempts: true }, 'an object'],
      [{ delay: 1_000 }, 'an object'],
      [{ when: null }, 'an object'],
    ],
  },
]

for (const { name, of, wanted, accepted, refused } of cases) {
  for (const side of of) {
    const resolve = makers[side]

    test(`${name} of a ${side} may be ${wanted}`, () => {
      for (const value of accepted) assert.equal(resolve({ [name]: value })[name], value)
    })

    test(`${name} of a ${side} is refused where it is anything else`, () => {
      for (const [value, shown] of refused) {
        assert.throws(() => resolve({ [name]: value }), {
          name: 'TypeError',
          message: `expected \`${name}\` to be ${wanted}, got ${shown}`,
        })
      }
    })
  }
}

test('every option has an accepted and a refused value here', () => {
  for (const side of BOTH) {
    const tried = cases.filter(({ of }) => of.includes(side)).map(({ name }) => name)
    assert.deepEqual(tried.sort(), Object.keys(defaults[side]).sort())
  }
})

for (const name of ['closeTimeout', 'keepaliveTimeout', 'handshakeTimeout']) {
  test(`a ${name} that is longer than a timer can be is as long as a timer can be`, () => {
    for (const given of [2 ** 31, 1e300]) {
      assert.equal(makers.server({ [name]: given })[name], 2 ** 31 - 1)
    }
  })
}

const slips: [side: Side, name: string, cure: string][] = [
  ['server', 'keepAliveTimeout', 'did you mean `keepaliveTimeout`?'],
  ['client', 'keepAliveTimeout', 'did you mean `keepaliveTimeout`?'],
  ['server', 'orgins', 'did you mean `origins`?'],
  ['server', 'protocol', 'did you mean `protocols`?'],
  ['server', 'maxReceivedMesageSize', 'did you mean `maxReceivedMessageSize`?'],
  ['client', 'header', 'did you mean `headers`?'],
  ['client', 'nothingLikeIt', `there are ${Object.keys(resolveClient()).join(', ')}`],
  ['client', 'authorize', `there are ${Object.keys(resolveClient()).join(', ')}`],
]

for (const [side, name, cure] of slips) {
  test(`a ${side} has no option ${name}, and says so even where it is undefined`, () => {
    for (const value of [true, undefined]) {
      assert.throws(() => makers[side]({ [name]: value }), {
        name: 'TypeError',
        message: `unknown option \`${name}\`: ${cure}`,
      })
    }
  })
}

test('an option called __proto__ is unknown like any other', () => {
  const given: unknown = JSON.parse('{ "__proto__": { "binary": true } }')
  assert.throws(() => makers.server(given), { name: 'TypeError', message: /`__proto__`/ })
})

const compressionSlips: [name: string, cure: string][] = [
  ['levels', 'did you mean `compression.level`?'],
  ['treshold', 'did you mean `compression.threshold`?'],
  ['windowBits', 'did you mean `compression.serverMaxWindowBits`?'],
  ['serverNoContextTakover', 'did you mean `compression.serverNoContextTakeover`?'],
]

for (const [name, cure] of compressionSlips) {
  test(`compression has no option ${name}, and offers the nearest`, () => {
    assert.throws(() => makers.server({ compression: { [name]: 5 } }), {
      name: 'TypeError',
      message: `unknown option \`compression.${name}\`: ${cure}`,
    })
  })
}

test('compression has no option that is nothing like those it has', () => {
  assert.throws(() => makers.client({ compression: { zlibDeflateOptions: {} } }), {
    name: 'TypeError',
    message: /^unknown option `compression\.zlibDeflateOptions`/,
  })
})

for (const [name, cure] of [
  ['attemps', 'did you mean `reconnect.attempts`?'],
  ['delays', 'did you mean `reconnect.delay`?'],
  ['jitterFactor', 'there are reconnect.attempts, reconnect.delay, reconnect.when'],
] as const) {
  test(`reconnect has no option ${name}, and says which it has`, () => {
    assert.throws(() => makers.client({ reconnect: { [name]: 5 } }), {
      name: 'TypeError',
      message: `unknown option \`reconnect.${name}\`: ${cure}`,
    })
  })
}

test('what is settled leaves what was given as it was', () => {
  const given = Object.freeze({ binary: true, closeTimeout: 2 ** 31 })
  const { binary, closeTimeout } = resolveServer(given)
  assert.deepEqual([binary, closeTimeout], [true, 2 ** 31 - 1])
  assert.equal(given.closeTimeout, 2 ** 31)
})

test('what a function answers is checked like what is given at once', () => {
  assert.equal(areProtocols(['chat']), true)
  assert.equal(areProtocols('chat'), false)
  assert.equal(areProtocols(undefined), false)
  assert.equal(areHeaders({ a: 'b' }), true)
  assert.equal(areHeaders({ a: undefined }), false)
  assert.equal(areHeaders(undefined), false)
})

test('a small bag of options is checked for its names alone', () => {
  checkNames({}, ['once', 'signal'])
  checkNames({ once: 'any', signal: undefined }, ['once', 'signal'])
  assert.throws(() => checkNames({ signals: true }, ['once', 'signal']), {
    name: 'TypeError',
    message: 'unknown option `signals`: did you mean `signal`?',
  })
})
