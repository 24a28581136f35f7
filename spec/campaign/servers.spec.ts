import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  ConnectError,
  FrameError,
  listen,
  once,
  WebsocketClient,
  type ClientOptions,
  type WebsocketConnection,
} from 'simplewebsockets'
import { bomb } from '../support/bomb.ts'
import { frame, proofOf, RawServer, type RawPeer } from '../support/rawpeer.ts'
import { MIB, Scene, turn } from '../support/scene.ts'

const DEFLATE = { 'Sec-WebSocket-Extensions': 'permessage-deflate' }
const HEAD = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
const AGREED = `${HEAD}Sec-WebSocket-Accept: PROOF\r\nSec-WebSocket-Extensions: permessage-deflate`

/** Lets a client meet a bad server, beside honest neighbours of another one. */
async function meet(
  options: ClientOptions,
  body: (raw: RawServer, client: WebsocketClient) => Promise<void>,
): Promise<void> {
  await using scene = await Scene.set()
  const raw = await RawServer.listen()
  const client = new WebsocketClient({ closeTimeout: 200, ...options })
  try {
    await body(raw, client)
    await scene.calm()
  } finally {
    await client.close()
    await raw.close()
  }
}

/** Says what it will for as long as it is listened to. */
async function endlessly(peer: RawPeer, piece: string): Promise<void> {
  for (let count = 0; peer.tcp.writable && count < 100_000; count++) {
    if (!peer.tcp.write(piece)) await drained(peer)
  }
}

/** Waits until more can be written, or the peer has gone. */
function drained({ tcp }: RawPeer): Promise<void> {
  return new Promise((resolve) => {
    for (const event of ['drain', 'close']) tcp.once(event, () => resolve())
  })
}

for (const [what, answer, status] of [
  ['a window of 7 bits', `${AGREED}; server_max_window_bits=7\r\n\r\n`],
  ['a window of 16 bits', `${AGREED}; server_max_window_bits=16\r\n\r\n`],
  ['a window of abc bits', `${AGREED}; server_max_window_bits=abc\r\n\r\n`],
  ['an extension never asked for', `${AGREED.replace('permessage', 'x')}\r\n\r\n`],
  ['the extension __proto__', `${AGREED.replace('permessage-deflate', '__proto__')}\r\n\r\n`],
  ['a wrong accept key', `${HEAD}Sec-WebSocket-Accept: AAAA\r\n\r\n`],
  ['no accept key', `${HEAD}\r\n`],
  ['200 and a body', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello', 200],
  ['2,000 headers', `${HEAD}${'a: b\r\n'.repeat(2_000)}\r\n`],
  ['a header of 1 MB', `${HEAD}X-Long: ${'x'.repeat(MIB)}\r\n\r\n`],
  ['junk', '\0\0\0\0\r\n\r\n'],
  ['nothing', ''],
] as [string, string, number?][]) {
  test(`a client that is answered with ${what} fails with a ConnectError`, async () => {
    await meet({ compression: true }, async (raw, client) => {
      const opening = client.open(raw.url).catch((error: unknown) => error)
      const peer = await raw.peer()
      peer.write(answer.replace('PROOF', proofOf(await peer.request())))
      if (answer === '') peer.tcp.end()
      const error = await opening
      assert.ok(error instanceof ConnectError, String(error))
      if (status !== undefined) assert.equal(error.status, status)
      await peer.gone()
    })
  })
}

for (const [what, head, piece] of [
  ['a body', 'HTTP/1.1 200 OK\r\n\r\n', 'x'.repeat(64 * 1024)],
  ['a body in chunks', 'HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n', '1\r\nx\r\n'],
  ['headers', HEAD, 'a: b\r\n'],
  ['answers of 100', '', 'HTTP/1.1 100 Continue\r\n\r\n'],
] as const) {
  test(`a client that is answered with ${what} without end gives up, and keeps nothing`, async () => {
    await meet({ connectTimeout: 500 }, async (raw, client) => {
      const opening = client.open(raw.url).catch((error: unknown) => error)
      const peer = await raw.peer()
      await peer.request()
      peer.write(head)
      await endlessly(peer, piece)
      const error = await opening
      assert.ok(error instanceof ConnectError)
      assert.ok((error.body?.length ?? 0) <= 4_096)
    })
  })
}

test('a client that is redirected tells no other server its credentials', async () => {
  const options = { headers: { Authorization: 'Bearer secret', Cookie: 'session=secret' } }
  await meet(options, async (raw, client) => {
    const elsewhere = await RawServer.listen()
    let met = false
    void elsewhere.peer().then(() => (met = true))
    const opening = client.open(raw.url).catch((error: unknown) => error)
    const peer = await raw.peer()
    await peer.request()
    const location = `Location: ${elsewhere.url}\r\nContent-Length: 0\r\n`
    peer.write(`HTTP/1.1 307 Temporary Redirect\r\n${location}\r\n`)
    const error = await opening
    assert.ok(error instanceof ConnectError)
    assert.equal(error.status, 307)
    await turn()
    assert.equal(met, false)
    await elsewhere.close()
  })
})

for (const [what, bytes, code, compression = false] of [
  ['a bomb of 64 MB', frame(2, bomb(64), { reserved: 4, masked: false }), 1009, true],
  ['a bomb of 1 GB', frame(2, bomb(1024), { reserved: 4, masked: false }), 1009, true],
  ['a length of 2^53', frame(2, '', { masked: false, length: big(2n ** 53n) }), 1009],
  ['a length of 2^63 - 1', frame(2, '', { masked: false, length: big(2n ** 63n - 1n) }), 1009],
  ['a length of 2^63', frame(2, '', { masked: false, length: big(2n ** 63n) }), 1002],
  ['a compressed frame never agreed on', frame(1, 'x', { reserved: 4, masked: false }), 1002],
  ['a masked frame', frame(1, 'x'), 1002],
  [
    '20,000 empty fragments',
    Buffer.concat(Array<Buffer>(20_000).fill(frame(1, '', { fin: false, masked: false }))),
    1002,
  ],
] as [string, Buffer, number, boolean?][]) {
  test(`a client that is sent ${what} closes with ${code}`, async () => {
    await meet({ compression }, async (raw, client) => {
      const [peer, connection] = await Promise.all([
        raw.accept(compression ? DEFLATE : {}),
        client.open(raw.url),
      ])
      const errors = told(connection)
      peer.write(bytes)
      assert.equal((await peer.closed())?.code, code)
      peer.tcp.destroy()
      assert.equal((await once(connection, 'close')).code, code)
      assert.deepEqual(errors, [code])
    })
  })
}

for (const [what, bytes] of [
  ['right behind its 101', Buffer.alloc(0)],
  ['inside a frame', frame(1, 'hello', { masked: false }).subarray(0, 4)],
  ['inside what is inflated', frame(2, bomb(16), { reserved: 4, masked: false })],
] as const) {
  test(`a server that resets ${what} is a close with 1006`, async () => {
    await meet({ compression: true, maxReceivedMessageSize: 64 * MIB }, async (raw, client) => {
      for (let round = 0; round < 10; round++) {
        const [peer, connection] = await Promise.all([raw.accept(DEFLATE), client.open(raw.url)])
        const errors = told(connection)
        listen(connection, 'message', () => {})
        await new Promise((resolve) => peer.tcp.write(bytes, resolve))
        if (round % 2 === 0) await turn()
        await peer.reset()
        assert.equal((await once(connection, 'close')).code, 1006)
        assert.deepEqual(errors, [])
      }
    })
  })
}

function told(connection: WebsocketConnection): number[] {
  const errors: number[] = []
  listen(connection, 'error', (error) => {
    errors.push(error instanceof FrameError ? error.closeCode : 0)
  })
  return errors
}

function big(value: bigint): { value: bigint; bytes: 8 } {
  return { value, bytes: 8 }
}
