import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inflateRawSync, constants } from 'node:zlib'
import { ConnectError, once, WebsocketClient } from 'simplewebsockets'
import { RawPeer } from '../support/rawpeer.ts'
import { BINARY, Meeting, noise, rawServer, served } from './meeting.ts'

// RFC 7692 §5 and §7.1, what is agreed on before anything is compressed.

const NAME = 'permessage-deflate'
const TAIL = Buffer.from([0, 0, 0xff, 0xff])
const options = { compression: true }

interface Agreed {
  name: string
  parameters: Map<string, string | undefined>
}

/** Reads a list of extensions, RFC 6455 §9.1; fails where a parameter comes twice. */
function read(header: string): Agreed[] {
  return header.split(',').map((element) => {
    const [name = '', ...rest] = element.split(';').map((part) => part.trim())
    const pairs = rest.map((part): [string, string | undefined] => {
      const [key = '', value] = part.split('=')
      return [key, value]
    })
    const parameters = new Map(pairs)
    assert.equal(parameters.size, pairs.length)
    return { name, parameters }
  })
}

/** Resolves with what a server of ours agrees to, of what a raw client offers. */
async function agreedTo(offers: readonly string[], given = options): Promise<Agreed | undefined> {
  const { port } = await served(given)
  const peer = await RawPeer.connect(port)
  const lines = offers.map((offer) => `Sec-WebSocket-Extensions: ${offer}\r\n`)
  peer.write(
    'GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n' +
      `${lines.join('')}\r\n`,
  )
  const { status, headers } = await peer.answer()
  await peer.reset()
  assert.equal(status, 101)
  const header = headers.get('sec-websocket-extensions')
  if (header === undefined) return undefined
  const [first, ...others] = read(header)
  assert.deepEqual([first?.name, others], [NAME, []])
  return first
}

/** Returns a message as a raw peer reads it that looks back so far, keeping nothing. */
function inflated(payload: Buffer, windowBits: number): Buffer {
  const whole = Buffer.concat([payload, TAIL])
  return inflateRawSync(whole, { finishFlush: constants.Z_SYNC_FLUSH, windowBits })
}

/** Returns bytes that come again after so many others: a larger window may find them. */
function repeating(distance: number): Buffer {
  const part = noise(distance, distance)
  return Buffer.concat([part, part, part])
}

const ANSWERS = new Set([
  'server_no_context_takeover',
  'client_no_context_takeover',
  'server_max_window_bits',
  'client_max_window_bits',
])

for (const [what, offers] of [
  ['no parameters', [NAME]],
  ['server_no_context_takeover', [`${NAME}; server_no_context_takeover`]],
  ['client_no_context_takeover', [`${NAME}; client_no_context_takeover`]],
  ['client_max_window_bits', [`${NAME}; client_max_window_bits`]],
  ['what Chrome offers', [`${NAME}; client_max_window_bits`]],
  ['all four', [`${NAME}; ${[...ANSWERS].join('=10; ').replaceAll('takeover=10', 'takeover')}=10`]],
  ['another extension in front', [`x-webkit-deflate-frame, ${NAME}`]],
  ['another extension behind', [`${NAME}, x-any; a=1`]],
  ['a line for each', ['x-any', NAME]],
  ['two of it', [`${NAME}; server_max_window_bits=10, ${NAME}`]],
  ['no spaces', [`${NAME};client_max_window_bits;server_no_context_takeover`]],
  ['spaces everywhere', [`  ${NAME}  ;  client_max_window_bits  ;server_no_context_takeover `]],
  ['a quoted value', [`${NAME}; server_max_window_bits="10"`]],
] as const) {
  test(`RFC 7692 §7.1 a server agrees to an offer with ${what}`, async () => {
    const agreed = await agreedTo(offers)
    assert.ok(agreed)
    for (const name of agreed.parameters.keys()) assert.ok(ANSWERS.has(name), name)
  })
}

test('RFC 7692 §7.1.1.1 a server that is asked to keeps no context', async () => {
  const agreed = await agreedTo([`${NAME}; server_no_context_takeover`])
  assert.ok(agreed)
  assert.ok(agreed.parameters.has('server_no_context_takeover'))
  assert.equal(agreed.parameters.get('server_no_context_takeover'), undefined)
})

test('RFC 7692 §7.1.2.2 a server names no window that the client cannot choose', async () => {
  for (const offer of [NAME, `${NAME}; server_max_window_bits=10`]) {
    assert.ok(!(await agreedTo([offer]))?.parameters.has('client_max_window_bits'))
  }
})

for (let bits = 8; bits <= 15; bits++) {
  test(`RFC 7692 §7.1.2.1 a server that is asked to looks back ${bits} bits at most`, async () => {
    const agreed = await agreedTo([`${NAME}; server_max_window_bits=${bits}`])
    const answer = Number(agreed?.parameters.get('server_max_window_bits'))
    assert.ok(answer >= 8 && answer <= bits)

    const extensions = `${NAME}; server_max_window_bits=${bits}`
    await using meeting = await Meeting.of('server', { options, extensions })
    for (const distance of [200, 300, 600, 1_200, 2_400, 5_000, 10_000, 20_000, 30_000]) {
      const data = repeating(distance)
      meeting.us.send(data)
      const { reserved, payload } = (await meeting.peer.frame()) ?? {}
      if (reserved === 4) assert.ok(inflated(payload ?? TAIL, bits).equals(data))
      else assert.ok(payload?.equals(data))
    }
  })

  test(`RFC 7692 §7.1.2.2 a server lets a client look back ${bits} bits`, async () => {
    const agreed = await agreedTo([`${NAME}; client_max_window_bits=${bits}`])
    const answer = agreed?.parameters.get('client_max_window_bits') ?? String(bits)
    assert.ok(Number(answer) >= 8 && Number(answer) <= bits)
  })

  test(`RFC 7692 §7.1.2.2 a client that is told to looks back ${bits} bits at most`, async () => {
    const extensions = `${NAME}; client_max_window_bits=${bits}; client_no_context_takeover`
    await using meeting = await Meeting.of('client', { options, extensions })
    for (const distance of [200, 300, 600, 1_200, 2_400, 5_000, 10_000, 20_000, 30_000]) {
      const data = repeating(distance)
      meeting.us.send(data)
      const { reserved, payload } = (await meeting.peer.frame()) ?? {}
      if (reserved === 4) assert.ok(inflated(payload ?? TAIL, bits).equals(data))
      else assert.ok(payload?.equals(data))
    }
  })
}

test('RFC 7692 §7.1 a server without compression agrees to nothing', async () => {
  assert.equal(await agreedTo([NAME], { compression: false }), undefined)
})

test('RFC 7692 §7 a client without compression offers nothing', async () => {
  assert.equal(await offered(false), undefined)
})

/** Resolves with what a client of ours offers. */
async function offered(compression: boolean): Promise<string | undefined> {
  const raw = await rawServer()
  const opening = new WebsocketClient({ compression }).open(raw.url).catch(() => {})
  const peer = await raw.peer()
  const lines = await peer.request()
  peer.tcp.destroy()
  await opening
  const line = lines.find((each) => /^sec-websocket-extensions:/i.test(each))
  return line?.slice(line.indexOf(':') + 1).trim()
}

test('RFC 7692 §7.1 a client offers what may be offered', async () => {
  for (const { name, parameters } of read((await offered(true)) ?? '')) {
    assert.equal(name, NAME)
    for (const [key, value] of parameters) {
      assert.ok(ANSWERS.has(key))
      if (key.endsWith('takeover')) assert.equal(value, undefined)
      else if (value !== undefined) assert.match(value, /^(8|9|1[0-5])$/)
    }
  }
})

/** Resolves with the outcome of a client of ours whose offer is answered so. */
async function answered(extensions: string): Promise<unknown> {
  const raw = await rawServer()
  const client = new WebsocketClient(options)
  const opening = client.open(raw.url).catch((error: unknown) => error)
  const peer = await raw.accept({ 'Sec-WebSocket-Extensions': extensions })
  const outcome = await opening
  peer.tcp.destroy()
  await once(client, 'closed')
  return outcome
}

for (const [what, answer] of [
  ['no parameters', NAME],
  ['no context of the server', `${NAME}; server_no_context_takeover`],
  ['no context of the client', `${NAME}; client_no_context_takeover`],
  ['no context', `${NAME}; client_no_context_takeover; server_no_context_takeover`],
  ['the smallest windows', `${NAME}; client_max_window_bits=8; server_max_window_bits=8`],
  ['the largest windows', `${NAME}; server_max_window_bits=15; client_max_window_bits=15`],
  ['a quoted window', `${NAME}; client_max_window_bits="10"`],
  ['no spaces', `${NAME};client_no_context_takeover;server_max_window_bits=10`],
] as const) {
  test(`RFC 7692 §7.1 a client is let in by an agreement on ${what}`, async () => {
    assert.ok(!((await answered(answer)) instanceof Error))
  })
}

for (const [what, answer] of [
  ['an unknown parameter', `${NAME}; max_window_bits=10`],
  ['a parameter in capitals', `${NAME}; SERVER_NO_CONTEXT_TAKEOVER`],
  ['no context, with a value', `${NAME}; server_no_context_takeover=1`],
  ['no context of the client, with a value', `${NAME}; client_no_context_takeover=true`],
  ['no context twice', `${NAME}; server_no_context_takeover; server_no_context_takeover`],
  ['a window twice', `${NAME}; server_max_window_bits=10; server_max_window_bits=10`],
  ['two windows of the client', `${NAME}; client_max_window_bits=10; client_max_window_bits=9`],
  ...['server', 'client'].flatMap((side) => [
    [`a window of the ${side} without its size`, `${NAME}; ${side}_max_window_bits`] as const,
    ...['0', '7', '16', '-8', '9.5', 'x', '100'].map(
      (bits) =>
        [`a window of the ${side} of ${bits}`, `${NAME}; ${side}_max_window_bits=${bits}`] as const,
    ),
  ]),
  ['another extension', 'x-any'],
  ['another extension beside it', `${NAME}, x-any`],
  ['another extension in front of it', `x-any, ${NAME}`],
  ['an extension that only begins so', `${NAME}d`],
  ['what is no list', `${NAME};;`],
  ['a parameter without a value', `${NAME}; server_max_window_bits=`],
  ['an open quotation', `${NAME}; server_max_window_bits="10`],
] as const) {
  test(`RFC 7692 §7.1 a client fails at an agreement on ${what}`, async () => {
    assert.ok((await answered(answer)) instanceof ConnectError)
  })
}

test('RFC 7692 §5 a client whose offer is declined goes on without it', async () => {
  await using meeting = await Meeting.of('client', { options })
  const data = Buffer.alloc(10_000)
  meeting.us.send(data)
  const { reserved, payload } = (await meeting.peer.frame()) ?? {}
  assert.equal(reserved, 0)
  assert.ok(payload?.equals(data))
  meeting.send(BINARY, 'plain')
  await meeting.hears(Buffer.from('plain'))
})

for (const role of ['server', 'client'] as const) {
  test(`RFC 7692 §6 a compressed frame that a ${role} never agreed to gets 1002`, async () => {
    await using meeting = await Meeting.of(role, { options })
    meeting.send(BINARY, 'x', { reserved: 4 })
    await meeting.fails(1002)
  })
}

// "A server MUST decline an offer" that it can't make sense of: the next one may do, or none.

for (const [what, parameters] of [
  ['an unknown parameter', 'max_window_bits=10'],
  ['a parameter in capitals', 'SERVER_NO_CONTEXT_TAKEOVER'],
  ['no context, with a value', 'server_no_context_takeover=1'],
  ['no context of the client, with a value', 'client_no_context_takeover=true'],
  ['no context twice', 'server_no_context_takeover; server_no_context_takeover'],
  ['a window twice', 'server_max_window_bits=10; server_max_window_bits=10'],
  ['a window of the server without its size', 'server_max_window_bits'],
  ...['server', 'client'].flatMap((side) =>
    ['0', '7', '16', '-8', '08', '9.5', '1e1', '0xa', 'x'].map(
      (bits) => [`a window of the ${side} of ${bits}`, `${side}_max_window_bits=${bits}`] as const,
    ),
  ),
] as const) {
  test(`RFC 7692 §7.1 a server declines an offer with ${what}`, async () => {
    assert.equal(await agreedTo([`${NAME}; ${parameters}`]), undefined)
  })

  test(`RFC 7692 §5.1 a server takes the offer behind one with ${what}`, async () => {
    const agreed = await agreedTo([`${NAME}; ${parameters}, ${NAME}; server_max_window_bits=10`])
    assert.equal(agreed?.parameters.get('server_max_window_bits'), '10')
  })
}

// "A decimal integer value without leading zeroes between 8 to 15."

for (const side of ['server', 'client']) {
  for (const bits of ['08', '010', '1e1', '0xa', '10.0', '+10']) {
    test(`RFC 7692 §7.1.2 a client fails at a window of the ${side} of ${bits}`, async () => {
      const outcome = await answered(`${NAME}; ${side}_max_window_bits=${bits}`)
      assert.ok(outcome instanceof ConnectError)
    })
  }
}

test('RFC 7692 §6 a client fails at an agreement on two that want the same bit', async () => {
  assert.ok((await answered(`${NAME}, ${NAME}`)) instanceof ConnectError)
})
