import assert from 'node:assert/strict'
import { once as onceEmitted } from 'node:events'
import { test } from 'node:test'
import { WebSocket } from 'ws'
import {
  listen,
  once,
  WebsocketClient,
  WebsocketServer,
  type ServerOptions,
  type WebsocketConnection,
} from 'simplewebsockets'
import { frame, RawPeer } from '../support/rawpeer.ts'
import { collect } from '../support/heap.ts'

const MIB = 1024 * 1024
const MESSAGES = 40_000
const READERS = 4
const PER_TURN = 500
const limited = { timeout: 30_000 } // what never comes fails, rather than to hang

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Returns the message of a number: text or bytes, most up to 300 bytes, some of 2 KiB. */
function message(number: number): string | Uint8Array {
  const length = number % 97 === 0 ? 2048 : (number * 7919) % 301
  const letters = `${number} zu lesen; `.repeat(1 + length / 8).slice(0, length)
  if (number % 5 === 0) return Buffer.from(letters)
  return number % 7 === 0 ? letters.replaceAll('z', 'ß') : letters
}

/** A server, gone at the end of the block with all its peers, also when a test fails. */
class Scene implements AsyncDisposable {
  readonly server: WebsocketServer
  readonly #peers: { destroy(): unknown }[] = []
  #port = 0

  private constructor(options: ServerOptions) {
    this.server = new WebsocketServer(options)
  }

  static async set(options: ServerOptions = {}): Promise<Scene> {
    const scene = new Scene(options)
    scene.#port = (await scene.server.serve(0)).port
    return scene
  }

  /** Lets in who reads only when it is asked to. */
  async raw(): Promise<[WebsocketConnection, RawPeer]> {
    const came = once(this.server, 'client')
    const peer = await RawPeer.enter(this.#port)
    this.#peers.push(peer.tcp)
    return [await came, peer]
  }

  /** Lets in a paused client of `ws`, which doesn't know us. */
  async bare(serverMaxWindowBits: number): Promise<[WebsocketConnection, WebSocket]> {
    const came = once(this.server, 'client')
    const perMessageDeflate = { serverMaxWindowBits }
    const socket = new WebSocket(`ws://localhost:${this.#port}`, { perMessageDeflate })
    this.#peers.push({ destroy: () => socket.terminate() })
    const [connection] = await Promise.all([came, onceEmitted(socket, 'open')])
    socket.pause()
    return [connection, socket]
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const peer of this.#peers) peer.destroy()
    await this.server.close()
  }
}

/** Sends all messages to all, in two ways by turns: one for all, or one for each. */
async function sendAll(
  server: WebsocketServer,
  from: WebsocketConnection,
  members: readonly WebsocketConnection[],
): Promise<void> {
  for (let number = 0; number < MESSAGES; number++) {
    if (number % 2 === 0) from.broadcast(message(number))
    else for (const member of members) member.send(message(number))
    if (number % PER_TURN === 0) await turn()
  }
  assert.equal(server.clients.size, members.length + 1)
}

test(`${READERS} peers that read late get every byte of all messages`, limited, async () => {
  await using scene = await Scene.set({ maxBufferedAmount: 64 * MIB })
  const [from] = await scene.raw()
  const readers: [WebsocketConnection, RawPeer][] = []
  for (let count = 0; count < READERS; count++) readers.push(await scene.raw())
  await sendAll(
    scene.server,
    from,
    readers.map(([connection]) => connection),
  )
  const expected = Buffer.concat(
    Array.from({ length: MESSAGES }, (_, number) => {
      const sent = message(number)
      return frame(typeof sent === 'string' ? 1 : 2, sent, { masked: false })
    }),
  )
  for (const [connection, { tcp }] of readers) {
    assert.ok(connection.bufferedAmount > 0, 'it has not read yet')
    assert.ok(connection.bufferedAmount <= expected.length)
    let at = 0
    const read = new Promise<void>((resolve) => {
      tcp.on('data', (chunk: Buffer) => {
        // Not `assert.equal`: what it shows of two long buffers takes minutes.
        assert.ok(chunk.equals(expected.subarray(at, at + chunk.length)), `after ${at} bytes`)
        at += chunk.length
        if (at === expected.length) resolve()
      })
    })
    tcp.resume()
    await read
    assert.equal(connection.bufferedAmount, 0)
  }
})

test(`${READERS} peers that read late get every compressed message`, limited, async () => {
  const compression = { threshold: 256, level: 1 }
  await using scene = await Scene.set({ maxBufferedAmount: 64 * MIB, compression })
  const [from] = await scene.bare(15)
  const readers: [WebsocketConnection, WebSocket][] = []
  for (let count = 0; count < READERS; count++) readers.push(await scene.bare(12 + count))
  await sendAll(
    scene.server,
    from,
    readers.map(([connection]) => connection),
  )
  for (const [connection, socket] of readers) {
    assert.ok(connection.bufferedAmount > 0, 'it has not read yet')
    let number = 0
    const read = new Promise<void>((resolve) => {
      socket.on('message', (data: Buffer, isBinary) => {
        const sent = message(number)
        assert.equal(isBinary, typeof sent !== 'string', `message ${number}`)
        assert.ok(data.equals(Buffer.from(sent)), `message ${number}`)
        if (++number === MESSAGES) resolve()
      })
    })
    socket.resume()
    await read
    assert.equal(connection.bufferedAmount, 0)
  }
})

test('a peer that reads nothing holds no more memory than what waits for it', limited, async () => {
  await using scene = await Scene.set()
  const [sleeper] = await scene.raw()
  const [busy, awake] = await scene.raw()
  let read = 0
  awake.tcp.on('data', ({ length }: Buffer) => (read += length)).resume()
  sleeper.send(new Uint8Array(8 * MIB)) // more than the kernel takes
  await turn()
  collect()
  const before = process.memoryUsage().arrayBuffers
  const waiting = sleeper.bufferedAmount
  const text = 'x'.repeat(4_000)
  for (let count = 0; count < 1_000; count++) {
    sleeper.send('tiny')
    for (let others = 0; others < 16; others++) busy.send(text)
    await turn()
  }
  await turn()
  assert.ok(sleeper.bufferedAmount - waiting < 10_000)
  assert.ok(read > 0)
  collect()
  const held = process.memoryUsage().arrayBuffers - before - busy.bufferedAmount
  assert.ok(held < 8 * MIB, `${Math.round(held / MIB)} MiB for 6 KB that wait`)
})

test('a peer that reads nothing is closed with 1013 at the bound', limited, async () => {
  await using scene = await Scene.set({ maxBufferedAmount: 4 * MIB, closeTimeout: 100 })
  const [connection] = await scene.raw()
  listen(connection, 'message', () => {})
  const piece = Buffer.alloc(10_000, 'abc')
  let sent = 0
  for (let count = 0; count < 10_000 && connection.isOpen; count++) {
    scene.server.emit(piece)
    if (connection.isOpen) sent++
    if (count % 10 === 0) await turn()
  }
  assert.equal(connection.isOpen, false)
  assert.ok(sent * piece.length >= 4 * MIB - piece.length)
  assert.ok(connection.bufferedAmount <= 4 * MIB + 4 * sent + 200)
  assert.equal((await once(connection, 'close')).code, 1013)
})

test('20 KiB of short messages in a turn arrive as they were, behind what the reader has still to read', async () => {
  await using server = new WebsocketServer({ maxBufferedAmount: 64 * MIB, keepaliveTimeout: false })
  const { port } = await server.serve(0)
  const entered = once(server, 'client')
  const client = await new WebsocketClient({ maxWaitingBytes: 64 * MIB }).open(
    `ws://localhost:${port}`,
  )
  const there = await entered
  const heard: string[] = []
  let readOn = (): void => {}
  const all = new Promise<void>((resolve, reject) => {
    listen(client, 'close', ({ description }) => reject(new Error(description)))
    listen(client, 'message', (message) => {
      if (heard.push(String(message)) === 1) return new Promise<void>((go) => (readOn = go))
      if (message === 'end') resolve()
      return undefined
    })
  })
  there.send('begin')
  while (heard.length === 0) await turn()
  const sent = ['begin']
  const send = (text: string): void => {
    sent.push(text)
    there.send(text)
  }
  for (let count = 0; count < 400; count++) send('f'.repeat(60_000)) // more than the kernel holds
  for (let round = 0; round < 20; round++) {
    await turn()
    for (let count = 0; count < 300; count++) send(`${round}.${count} `.padEnd(100, `${round % 7}`))
  }
  send('end')
  readOn()
  await all
  assert.deepEqual(heard, sent)
})
