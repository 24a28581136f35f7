import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import {
  listen,
  memoryBackplane,
  once,
  WebsocketClient,
  WebsocketServer,
  type ConnectionOptions,
  type Data,
  type SendData,
  type WebsocketConnection,
} from 'simplewebsockets'
import { link, pair } from 'simplewebsockets/testing'

const KIB = 1024

const ports = new WeakMap<WebsocketServer, Promise<{ port: number }>>()

/** Connects to a server over the network; it serves then, and closes its clients when it closes. */
async function connect(
  server: WebsocketServer,
  options: ConnectionOptions,
): Promise<[there: WebsocketConnection, here: WebsocketConnection]> {
  const serving = ports.get(server) ?? server.serve(0)
  ports.set(server, serving)
  const { port } = await serving
  const entered = once(server, 'client')
  const here = await new WebsocketClient(options).open(`ws://localhost:${port}`)
  return [await entered, here]
}

/** Takes messages until there are so many. */
function take(connection: WebsocketConnection, count: number): Promise<Data[]> {
  const messages: Data[] = []
  return new Promise((resolve) => {
    const unlisten = listen(connection, 'message', (message) => {
      messages.push(message)
      if (messages.length < count) return
      unlisten()
      resolve(messages)
    })
  })
}

/** Sends one buffer three times, each time with other bytes in it. */
function reuse(buffer: Uint8Array, send: (bytes: Uint8Array) => void): void {
  for (const value of [1, 2, 3]) send(buffer.fill(value))
  buffer.fill(9)
}

function expect(messages: readonly Data[], size: number): void {
  const seen = messages.map((message) => {
    assert.ok(message instanceof Uint8Array)
    return [message.length, ...new Set(message)]
  })
  const wanted = [1, 2, 3].map((value) => [size, value])
  assert.deepEqual(seen, wanted)
}

const terms: readonly [how: string, options: ConnectionOptions][] = [
  ['plain', {}],
  ['compressed', { compression: true }],
  ['in fragments', { fragmentationThreshold: 1_000 }],
  ['compressed, in fragments', { compression: true, fragmentationThreshold: 1_000 }],
]

for (const [how, options] of terms) {
  suite(`bytes that the caller reuses at once arrive as they were sent, ${how}`, () => {
    for (const size of [10, 20 * KIB, 100 * KIB]) {
      test(`${size} bytes, over the network`, async () => {
        const backplane = memoryBackplane()
        await using server = new WebsocketServer({ ...options, backplane })
        await using other = new WebsocketServer({ ...options, backplane })
        const [there, here] = await connect(server, options)
        const [, second] = await connect(server, options)
        const [elsewhere, third] = await connect(other, options)
        server.room('all').add(there)
        other.room('all').add(elsewhere)
        const buffer = Buffer.alloc(size)
        for (const [send, ...receivers] of [
          [(bytes) => void there.send(bytes), here],
          [(bytes) => void here.send(bytes), there],
          [(bytes) => there.broadcast(bytes), second, third],
          [(bytes) => server.emit(bytes), here, second, third],
          [(bytes) => server.room('all').emit(bytes), here, third],
        ] as [(bytes: Uint8Array) => void, ...WebsocketConnection[]][]) {
          const arrived = receivers.map((receiver) => take(receiver, 3))
          reuse(buffer, send)
          for (const messages of await Promise.all(arrived)) expect(messages, size)
        }
      })

      test(`${size} bytes, in memory`, async () => {
        const [server, client] = pair({ server: options, client: options })
        const buffer = Buffer.alloc(size)
        for (const [from, to] of [
          [server, client],
          [client, server],
        ] as const) {
          const arrived = take(to, 3)
          reuse(buffer, (bytes) => void from.send(bytes))
          expect(await arrived, size)
        }
        const node = new WebsocketServer(options)
        const [, here] = await link(node, new WebsocketClient(options))
        const arrived = take(here, 3)
        reuse(buffer, (bytes) => node.emit(bytes))
        expect(await arrived, size)
        await node.close()
      })
    }

    test('a ping', { timeout: 60_000 }, async () => {
      await using server = new WebsocketServer(options)
      const [there, here] = await connect(server, options)
      for (const [one, other] of [[there, here], [here, there], pair()] as const) {
        for (const buffer of [Buffer.alloc(8), new Uint8Array(8)]) {
          const heard: Data[] = []
          const unlisten = listen(other, 'ping', (payload) => heard.push(payload))
          const pings: Promise<number>[] = []
          reuse(buffer, (bytes) => pings.push(one.ping(bytes)))
          await Promise.all(pings)
          unlisten()
          assert.deepEqual(
            heard,
            ['\x01', '\x02', '\x03'].map((byte) => byte.repeat(8)),
          )
        }
      }
    })
  })
}

test('a listener may change the bytes of a ping: the pong is another copy', async () => {
  const options = { binary: true, compression: true }
  await using server = new WebsocketServer(options)
  const [there, here] = await connect(server, options)
  for (const [one, other] of [
    [there, here],
    [here, there],
    pair({ server: options, client: options }),
  ] as const) {
    listen(other, 'ping', (payload) => void (payload as Uint8Array).fill(9))
    other.send(new Uint8Array(100 * KIB)) // which is still being compressed
    // A keepalive's pong would answer it, too, much later.
    assert.ok((await one.ping(Uint8Array.of(1, 2))) < 10_000)
  }
})

for (const [what, make] of [
  ['an ArrayBuffer', (bytes) => bytes.buffer],
  ['a DataView', (bytes) => new DataView(bytes.buffer)],
  ['a Float64Array', (bytes) => new Float64Array(bytes.buffer)],
  ['a SharedArrayBuffer', (bytes) => shared(bytes)],
  ['a view of a SharedArrayBuffer', (bytes) => new Uint8Array(shared(bytes))],
] as [string, (bytes: Uint8Array<ArrayBuffer>) => SendData][]) {
  for (const [how, options] of terms) {
    test(`${what} is sent as its bytes, ${how}`, async () => {
      const bytes = Uint8Array.from({ length: 80 * KIB }, (_, index) => index % 251)
      await using server = new WebsocketServer(options)
      const [there, here] = await connect(server, options)
      const arrived = take(here, 2)
      there.send(make(bytes))
      server.emit(make(bytes))
      for (const message of await arrived) assert.deepEqual(message, bytes)
      const heard = once(there, 'message')
      here.send(make(bytes))
      assert.deepEqual(await heard, bytes)
      assert.ok((await here.ping(make(bytes.slice(0, 8)))) >= 0)
      const [one, other] = pair()
      one.send(make(bytes))
      assert.deepEqual(await once(other, 'message'), bytes)
    })
  }
}

/** Copies bytes to where threads share them. */
function shared(bytes: Uint8Array): SharedArrayBuffer {
  const buffer = new SharedArrayBuffer(bytes.length)
  new Uint8Array(buffer).set(bytes)
  return buffer
}
