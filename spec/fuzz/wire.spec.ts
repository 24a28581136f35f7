import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { listen, once, WebsocketServer, type ServerOptions } from 'simplewebsockets'
import { Meeting, turn, type Role } from '../conformance/meeting.ts'
import { frame, handshake, RawPeer } from '../support/rawpeer.ts'
import { alarms, Scene } from '../support/scene.ts'
import { runs, textOf } from './chance.ts'

/** Looks at everything that a handshake says. */
const OPTIONS: ServerOptions = {
  path: '/room/:name',
  protocols: ['chat'],
  origins: ['https://good.com', '*.good.com'],
  compression: true,
  handshakeTimeout: 500,
  authorize: (request) => {
    request.basicAuth({ query: true })
    return {
      read: [
        request.token({ query: true }),
        Object.keys(request.cookies).length,
        request.params.name,
      ],
    }
  },
}

const pieces = textOf(
  ...(['GET ', 'POST ', '/room/a', '/', '?', '%', ' HTTP/1.1', '\r\n', '\n', ': ', ','] as const),
  ...['Host', 'Upgrade', 'websocket', 'Connection', 'Origin', 'https://good.com', 'Cookie', 'a=b'],
  ...['Sec-WebSocket-Key', 'Sec-WebSocket-Protocol', 'Sec-WebSocket-Extensions', 'chat', '13', '='],
  ...['permessage-deflate', 'server_max_window_bits', '; ', 'Content-Length', 'Transfer-Encoding'],
  ...['chunked', 'Expect', '100-continue', '\0', '\t', 'x'.repeat(9_000)],
)
const edits = fc.array(
  fc.record({ at: fc.nat(), cut: fc.nat({ max: 40 }), piece: pieces, line: fc.boolean() }),
  { maxLength: 4 },
)

test('a handshake changed by chance is answered, or hung up on', async () => {
  await using scene = await Scene.set()
  await using strict = new WebsocketServer({ closeTimeout: 100, ...OPTIONS })
  const { port } = await strict.serve(0)
  await fc.assert(
    fc.asyncProperty(edits, async (all) => {
      let words = handshake({ target: '/room/a', headers: { Origin: 'https://good.com' } })
      for (const { at: place, cut, piece, line } of all) {
        const start = place % (words.length + 1)
        const where = line ? words.indexOf('\r\n', start) + 2 : start
        words = words.slice(0, where) + piece + words.slice(where + (line ? 0 : cut))
      }
      const peer = await RawPeer.connect(port)
      peer.write(words)
      peer.tcp.end()
      const said = (await peer.rest()).toString('latin1')
      assert.match(said, /^(HTTP\/1\.1 (101|[45]\d\d) |$)/, words)
      await peer.reset()
    }),
    runs(300),
  )
  await scene.calm()
})

const frames = fc.array(
  fc.oneof(
    {
      arbitrary: fc.record({
        opcode: fc.constantFrom(0, 1, 1, 2, 2, 8, 9, 10, 3, 15),
        payload: fc.oneof(
          fc.uint8Array({ maxLength: 130 }),
          fc.string({ unit: 'grapheme' }).map((text) => Buffer.from(text)),
          fc.constant(new Uint8Array(70_000)),
        ),
        fin: fc.oneof({ arbitrary: fc.constant(true), weight: 3 }, fc.boolean()),
        reserved: fc.constantFrom(0, 0, 0, 0, 0, 4, 1),
        masked: fc.constantFrom(true, true, true, true, true, true, false),
        length: fc.oneof(
          { arbitrary: fc.constant(undefined), weight: 20 },
          fc.record({
            value: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
            bytes: fc.constant(8 as const),
          }),
        ),
      }),
      weight: 9,
    },
    { arbitrary: fc.uint8Array({ maxLength: 40 }), weight: 1 },
  ),
  { maxLength: 12 },
)

for (const role of ['server', 'client'] as const) {
  for (const extensions of [undefined, 'permessage-deflate'] as const) {
    const what = extensions === undefined ? 'frames' : 'frames, some compressed,'
    test(`a ${role} that gets ${what} made by chance ends well, and once`, async () => {
      await flung(role, extensions, Buffer.alloc(0), []) // opens a server that stays for the next
      await using scene = await Scene.set()
      await fc.assert(
        fc.asyncProperty(frames, fc.array(fc.nat(), { maxLength: 6 }), async (all, cuts) => {
          const bytes = Buffer.concat(all.map((one) => wired(one, role)))
          await flung(role, extensions, bytes, cuts)
        }),
        runs(100),
      )
      await scene.calm()
    })
  }
}

type Fuzz = typeof frames extends fc.Arbitrary<(infer One)[]> ? One : never

function wired(one: Fuzz, role: Role): Uint8Array {
  if (one instanceof Uint8Array) return one
  const { opcode, payload, length, masked, ...rest } = one
  const options = { ...rest, masked: masked === (role === 'server') }
  return frame(opcode, payload, length ? { ...options, length } : options)
}

/** Says bytes in pieces, hangs up, and checks that the end is told of once, with a code that is one. */
async function flung(
  role: Role,
  extensions: string | undefined,
  bytes: Buffer,
  cuts: readonly number[],
): Promise<void> {
  const terms = extensions === undefined ? {} : { extensions, options: { compression: true } }
  await using meeting = await Meeting.of(role, terms)
  const { us, peer } = meeting
  let ends = 0
  listen(us, 'close', () => {
    ends++
  })
  const places = cuts.map((cut) => cut % (bytes.length + 1)).sort((one, other) => one - other)
  await meeting.drip(bytes, places)
  peer.tcp.end()
  const { code } = await once(us, 'close')
  await turn()
  assert.equal(ends, 1)
  assert.ok(code >= 1000 && code <= 4999, `${code}`)
  assert.ok(meeting.errors.length <= 1)
  assert.deepEqual(alarms, [])
}

after(() => assert.deepEqual(alarms, []))
