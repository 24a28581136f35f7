import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once as onceEmitted } from 'node:events'
import { createServer } from 'node:http'
import { Duplex } from 'node:stream'
import { test } from 'node:test'
import { constants, inflateRawSync } from 'node:zlib'
import { WebSocket, type ClientOptions as BareOptions } from 'ws'
import {
  listen,
  once,
  WebsocketClient,
  WebsocketServer,
  type ClientOptions,
  type ConnectionOptions,
  type Data,
  type ServerOptions,
  type WebsocketConnection,
} from 'simplewebsockets'
import { cut } from 'simplewebsockets/testing'
import { pick, seeded } from '../support/random.ts'
import { closePayload, frame, handshake, RawPeer, RawServer } from '../support/rawpeer.ts'

const KIB = 1024
const LONG = 100 * KIB // more than is compressed here: `ws` does it, beside the event loop
const MIDDLING = 2 * KIB
const END = 'ping end'
const OFFER = { 'Sec-WebSocket-Extensions': 'permessage-deflate' }
const limited = { timeout: 30_000 } // what never comes fails, rather than to hang

/** Lets what is ready in this turn of the event loop happen. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

function noise(seed: number, length: number): Uint8Array {
  const random = seeded(seed)
  return Uint8Array.from({ length }, () => random() * 256)
}

const words = Array.from({ length: 20_000 }, (_, index) => `wörter und ${index * 7919} Zahlen `)
const prose = words.join('')

/** Returns a text of so many letters that tells its number first, and compresses well. */
function text(number: number, length: number): string {
  return `${number}|${prose.slice(number * 37)}`.slice(0, length)
}

/** Returns a label that is short, and yet differs wherever the message does. */
function label(data: Data): string {
  const [name = ''] = /^[\w ]*/.exec(Buffer.from(data.slice(0, 12)).toString()) ?? []
  const hash = createHash('sha1').update(data).digest('hex').slice(0, 12)
  return `${typeof data === 'string' ? 'text' : 'bytes'} ${name} ${data.length} ${hash}`
}

/** Writes down what one receiver gets, in order. */
class Ear {
  readonly heard: string[] = []
  #lost: string | undefined
  #wake = (): void => {}

  hear(what: string): void {
    this.heard.push(what)
    this.#wake()
  }

  lose(why: string): void {
    this.#lost = why
    this.#wake()
  }

  /** Resolves with everything before the last ping. */
  async all(): Promise<string[]> {
    while (this.heard.at(-1) !== END) {
      if (this.#lost !== undefined) throw new Error(`lost: ${this.#lost}`)
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
    return this.heard.slice(0, -1)
  }
}

/** One connection, seen from the server, and what its peer hears. */
interface Member {
  readonly connection: WebsocketConnection
  readonly ear: Ear
}

/** A server and its peers over TCP; gone at the end of the block. */
class Scene implements AsyncDisposable {
  readonly server: WebsocketServer
  readonly #bares: WebSocket[] = []
  readonly #raws: RawPeer[] = []
  port = 0

  private constructor(options: ServerOptions) {
    this.server = new WebsocketServer(options)
  }

  static async set(options: ServerOptions = {}): Promise<Scene> {
    const scene = new Scene(options)
    const { port } = await scene.server.serve(0)
    scene.port = port
    return scene
  }

  /** Lets in a client of `ws`, which doesn't know us. */
  async bare(options: BareOptions = {}): Promise<Member & { socket: WebSocket }> {
    const came = once(this.server, 'client')
    const socket = new WebSocket(`ws://localhost:${this.port}`, options)
    this.#bares.push(socket)
    const ear = new Ear()
    socket.on('message', (data: Buffer, isBinary) =>
      ear.hear(label(isBinary ? data : data.toString())),
    )
    socket.on('ping', (data) => ear.hear(`ping ${data}`))
    socket.on('error', (error) => ear.lose(error.message))
    socket.on('close', (code, reason) => ear.lose(`${code} ${reason}`))
    const [connection] = await Promise.all([came, onceEmitted(socket, 'open')])
    return { connection, ear, socket }
  }

  /** Lets in a client of ours. */
  async own(options: ClientOptions = {}): Promise<Member & { client: WebsocketConnection }> {
    const came = once(this.server, 'client')
    const client = await new WebsocketClient(options).open(`ws://localhost:${this.port}`)
    return { connection: await came, ear: earOf(client), client }
  }

  /** Lets in a peer that only the caller reads. */
  async raw(headers: Record<string, string> = {}): Promise<[WebsocketConnection, RawPeer]> {
    const came = once(this.server, 'client')
    const peer = await RawPeer.enter(this.port, { headers })
    this.#raws.push(peer)
    return [await came, peer]
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#bares) socket.terminate()
    for (const { tcp } of this.#raws) tcp.destroy()
    await this.server.close()
  }
}

function earOf(connection: WebsocketConnection): Ear {
  const ear = new Ear()
  listen(connection, 'message', (data) => ear.hear(label(data)))
  listen(connection, 'ping', (data) => ear.hear(`ping ${data}`))
  listen(connection, 'close', ({ code, description }) => ear.lose(`${code} ${description}`))
  return ear
}

interface Whole {
  readonly opcode: number
  readonly payload: Buffer
}

/** Reads messages and control frames up to a close frame; fails where fragments are mixed. */
async function wholes(peer: RawPeer): Promise<Whole[]> {
  const read: Whole[] = []
  let open: { opcode: number; compressed: boolean; parts: Buffer[] } | undefined
  for (;;) {
    const next = await peer.frame()
    assert.ok(next, 'the TCP ended without a close frame')
    const { fin, opcode, payload, reserved } = next
    if (opcode >= 8) {
      assert.ok(fin, 'a control frame in fragments')
      assert.equal(reserved, 0)
      read.push({ opcode, payload })
      if (opcode === 8) return read
      continue
    }
    assert.equal(opcode === 0, open !== undefined, `a frame of kind ${opcode} in a wrong place`)
    open ??= { opcode, compressed: reserved === 4, parts: [] }
    open.parts.push(payload)
    if (!fin) continue
    const whole = Buffer.concat(open.parts)
    read.push({ opcode: open.opcode, payload: open.compressed ? inflated(whole) : whole })
    open = undefined
  }
}

function inflated(payload: Uint8Array, windowBits = 15): Buffer {
  const whole = Buffer.concat([payload, Buffer.from([0, 0, 0xff, 0xff])])
  return inflateRawSync(whole, { finishFlush: constants.Z_SYNC_FLUSH, windowBits })
}

const names = ['more', 'text', 'bytes', '', '', '', '', '', 'close', 'ping', 'pong']

/** Returns what was read, in the shortest form that tells messages apart. */
function story(read: readonly Whole[]): string[] {
  return read.map(({ opcode, payload }) => {
    if (opcode === 1) return label(payload.toString())
    if (opcode === 2) return label(payload)
    return `${names[opcode]} ${opcode === 8 ? payload.subarray(2) : payload}`
  })
}

for (const compression of [false, true]) {
  for (const fragmentationThreshold of [false, 5_000] as const) {
    for (const seed of [1, 2, 3, 4]) {
      const how = `compression ${compression}, fragments ${fragmentationThreshold}, seed ${seed}`
      test(`every end gets all messages in the order of sending: ${how}`, limited, async () => {
        await using scene = await Scene.set({ compression, fragmentationThreshold })
        const { server } = scene
        const members = [
          await scene.bare(),
          await scene.bare({ perMessageDeflate: false }),
          await scene.own({ compression }),
        ] as const
        const room = server.room('some').add(members[0].connection).add(members[2].connection)
        const expected = new Map<Member, string[]>(members.map((member) => [member, []]))
        const expect = (what: string, by: (member: Member) => boolean): void => {
          for (const [member, list] of expected) if (by(member)) list.push(what)
        }
        const random = seeded(seed)
        for (let number = 0; number < 80; number++) {
          const one = pick(random, members)
          const long = text(number, pick(random, [LONG, MIDDLING, MIDDLING, 10, 10, 10]))
          const data = random() < 0.3 ? Buffer.from(long) : long
          const what = label(data)
          const act = pick(random, ['send', 'send', 'emit', 'broadcast', 'room', 'ping', 'turn'])
          if (act === 'send') {
            one.connection.send(data)
            expect(what, (member) => member === one)
          } else if (act === 'emit') {
            server.emit(data)
            expect(what, () => true)
          } else if (act === 'broadcast') {
            one.connection.broadcast(data)
            expect(what, (member) => member !== one)
          } else if (act === 'room') {
            room.emit(data)
            expect(what, (member) => room.has(member.connection))
          } else if (act === 'ping') {
            one.connection.ping(`${number}`)
            expect(`ping ${number}`, (member) => member === one)
          } else {
            await pick(random, [turn, () => Promise.resolve()])()
          }
        }
        for (const { connection } of members) connection.ping('end')
        for (const [index, member] of members.entries()) {
          assert.deepEqual(await member.ear.all(), expected.get(member), `member ${index}, ${how}`)
        }
      })
    }
  }
}

for (const compression of [false, true]) {
  for (const fragmentationThreshold of [false, 5_000] as const) {
    const how = `compression ${compression}, fragments ${fragmentationThreshold}, seed 5`
    test(`a server gets everything in the order a client sent it in: ${how}`, limited, async () => {
      await using scene = await Scene.set({ compression })
      const { connection, client } = await scene.own({ compression, fragmentationThreshold })
      const ear = earOf(connection)
      const random = seeded(5)
      const expected: string[] = []
      for (let number = 0; number < 80; number++) {
        const data = text(number, pick(random, [LONG, MIDDLING, 10, 10]))
        if (random() < 0.2) {
          client.ping(`${number}`)
          expected.push(`ping ${number}`)
        } else {
          client.send(data)
          expected.push(label(data))
        }
        if (random() < 0.2) await turn()
      }
      client.ping('end')
      assert.deepEqual(await ear.all(), expected)
    })
  }
}

for (const compression of [false, { threshold: 0 }, true]) {
  for (const seed of [6, 7]) {
    const how = `compression ${JSON.stringify(compression)}, seed ${seed}`
    test(`nothing but a ping lands inside a message in fragments: ${how}`, limited, async () => {
      await using scene = await Scene.set({ compression, fragmentationThreshold: 1_000 })
      const [connection, peer] = await scene.raw(compression === false ? {} : OFFER)
      const random = seeded(seed)
      const messages: string[] = []
      const pings: string[] = []
      for (let number = 0; number < 60; number++) {
        if (random() < 0.25) {
          connection.ping(`${number}`)
          pings.push(`ping ${number}`)
        } else {
          const long = text(number, pick(random, [LONG, 8 * KIB, 1_000, 300, 10]))
          const data = random() < 0.3 ? Buffer.from(long) : long
          if (random() < 0.5) connection.send(data)
          else scene.server.emit(data)
          messages.push(label(data))
        }
        if (random() < 0.2) await turn()
      }
      connection.close(4000, 'end')
      const told = story(await wholes(peer))
      assert.deepEqual(
        told.filter((what) => /^(text|bytes)/.test(what)),
        messages,
      )
      assert.deepEqual(
        told.filter((what) => what.startsWith('ping')),
        pings,
      )
      assert.equal(told.at(-1), 'close end')
    })
  }
}

interface Way {
  readonly how: string
  readonly options: ServerOptions
  readonly headers: Record<string, string>
  readonly sent: string
}

const ways: readonly Way[] = [
  { how: 'plain', options: {}, headers: {}, sent: 'short' },
  { how: 'plain and long', options: {}, headers: {}, sent: text(1, LONG) },
  {
    how: 'in fragments',
    options: { fragmentationThreshold: 100 },
    headers: {},
    sent: text(2, MIDDLING),
  },
  {
    how: 'compressed here',
    options: { compression: { threshold: 0 } },
    headers: OFFER,
    sent: text(3, MIDDLING),
  },
  {
    how: 'compressed by ws',
    options: { compression: true },
    headers: OFFER,
    sent: text(4, LONG),
  },
  {
    how: 'compressed by ws in fragments',
    options: { compression: true, fragmentationThreshold: 10_000 },
    headers: OFFER,
    sent: text(5, LONG),
  },
]

for (const { how, options, headers, sent } of ways) {
  test(`nothing follows the close frame: ${how}`, limited, async () => {
    await using scene = await Scene.set(options)
    const [connection, peer] = await scene.raw(headers)
    const [other] = await scene.raw(headers)
    const room = scene.server.room('all').add(connection).add(other)
    connection.send(sent)
    scene.server.emit('emitted')
    connection.close(4000, 'bye')
    assert.equal(connection.send('late'), false)
    assert.equal(connection.send(text(6, LONG)), false)
    scene.server.emit('late')
    room.emit('late')
    other.broadcast('late')
    connection.ping('late')
    const told = story(await wholes(peer))
    assert.deepEqual(told, [label(sent), label('emitted'), 'close bye'])
    connection.send('later')
    scene.server.emit('later')
    peer.send(8, closePayload(4000, 'bye'))
    assert.equal((await peer.rest()).length, 0)
  })

  test(
    `nothing follows the answer to a close frame of the same turn: ${how}`,
    limited,
    async () => {
      await using scene = await Scene.set(options)
      const [connection, peer] = await scene.raw(headers)
      const [other] = await scene.raw(headers)
      listen(connection, 'message', (message) => {
        connection.send(`${message}`)
        connection.send(sent)
        other.broadcast('broadcast')
      })
      listen(connection, 'message', async () => {
        await Promise.resolve()
        connection.send('late')
        scene.server.emit('late')
      })
      const closed = once(connection, 'close')
      peer.write(
        Buffer.concat([frame(1, 'one'), frame(1, 'two'), frame(8, closePayload(4001, 'x'))]),
      )
      const told = story(await wholes(peer))
      const answers = (name: string): string[] => [label(name), label(sent), label('broadcast')]
      assert.deepEqual(told, [...answers('one'), ...answers('two'), 'close x'])
      assert.equal((await peer.rest()).length, 0)
      assert.deepEqual(await closed, { code: 4001, description: 'x' })
    },
  )

  test(
    `nothing follows the close frame that a bad frame is answered with: ${how}`,
    limited,
    async () => {
      await using scene = await Scene.set(options)
      const [connection, peer] = await scene.raw(headers)
      listen(connection, 'error', () => {
        connection.send('late')
        scene.server.emit('late')
      })
      listen(connection, 'message', () => void connection.send(sent))
      peer.write(Buffer.concat([frame(1, 'good'), frame(3, 'bad')]))
      const [first, last, ...more] = story(await wholes(peer))
      assert.equal(first, label(sent))
      assert.match(last ?? '', /^close .+/)
      assert.deepEqual(more, [])
      connection.send('later')
      assert.equal((await peer.rest()).length, 0)
    },
  )
}

test('messages that still wait to be compressed hold a close frame back', limited, async () => {
  await using scene = await Scene.set({ compression: true })
  const [connection, peer] = await scene.raw(OFFER)
  const sent = Array.from({ length: 12 }, (_, number) => text(number, number % 3 ? 10 : LONG))
  for (const data of sent) connection.send(data)
  connection.ping('last')
  connection.close(1000, 'end')
  const told = story(await wholes(peer))
  assert.deepEqual(told, [...sent.map(label), 'ping last', 'close end'])
})

for (const { how, options, headers, sent } of ways.slice(0, 4)) {
  test(`what was sent before a cut in the same turn is received: ${how}`, limited, async () => {
    await using scene = await Scene.set({ ...options, closeTimeout: 1 })
    const [connection, peer] = await scene.raw(headers)
    const closed = once(connection, 'close')
    for (let count = 0; count < 3; count++) connection.send(sent)
    scene.server.emit('emitted')
    cut(connection)
    const rest = await peer.rest()
    assert.equal((await closed).code, 1006)
    const [again, reader] = await scene.raw(headers)
    for (let count = 0; count < 3; count++) again.send(sent)
    scene.server.emit('emitted')
    again.close(4000, 'end')
    const whole = await reader.rest()
    const close = frame(8, closePayload(4000, 'end'), { masked: false })
    assert.ok(rest.equals(whole.subarray(0, -close.length)), 'the same bytes as without a cut')
    assert.ok(whole.subarray(-close.length).equals(close))
  })
}

test('what a listener sends before it cuts is received', limited, async () => {
  await using scene = await Scene.set()
  const [connection, peer] = await scene.raw()
  listen(connection, 'message', (message) => {
    connection.send(`answer to ${message}`)
    if (message === 'two') cut(connection)
  })
  peer.write(Buffer.concat([frame(1, 'one'), frame(1, 'two')]))
  const expected = ['answer to one', 'answer to two'].map((answer) =>
    frame(1, answer, { masked: false }),
  )
  assert.ok((await peer.rest()).equals(Buffer.concat(expected)))
})

test('what a client sends before a cut in the same turn is received', limited, async () => {
  const server = await RawServer.listen()
  const accepted = server.accept()
  const client = await new WebsocketClient().open(server.url)
  const peer = await accepted
  for (let number = 0; number < 50; number++) client.send(`${number}`)
  cut(client)
  for (let number = 0; number < 50; number++) {
    assert.equal((await peer.frame())?.payload.toString(), `${number}`)
  }
  assert.equal(await peer.frame(), undefined)
  await server.close()
})

/** A wire that notes every write: an http server takes any stream for a connection. */
class Wire extends Duplex {
  readonly writes: Buffer[] = []

  override _read(): void {}

  override _write(chunk: Buffer, _: string, done: () => void): void {
    this.writes.push(chunk)
    done()
  }

  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this.writes.push(Buffer.concat(chunks.map(({ chunk }) => chunk)))
    done()
  }
}

async function onWire(options: ServerOptions): Promise<[WebsocketConnection, Wire]> {
  const http = createServer()
  const server = new WebsocketServer(options).attach(http)
  const came = once(server, 'client')
  const wire = new Wire()
  http.emit('connection', wire)
  wire.push(handshake(options.compression ? { headers: OFFER } : {}))
  const connection = await came
  await turn()
  wire.writes.length = 0 // the answer to the handshake
  return [connection, wire]
}

const numbers = Array.from({ length: 64 }, (_, number) => `number ${number}`)
const received = Buffer.concat(numbers.map((number) => frame(1, number)))
const framed = (texts: readonly string[]): Buffer =>
  Buffer.concat(texts.map((plain) => frame(1, plain, { masked: false })))

test('the answers to all messages of a turn leave in one write', limited, async () => {
  const [connection, wire] = await onWire({})
  listen(connection, 'message', (message) => void connection.send(message))
  wire.push(received)
  await turn()
  assert.equal(wire.writes.length, 1)
  assert.ok(wire.writes[0]?.equals(framed(numbers)))
  wire.destroy()
})

test('answers that were awaited leave in one write too, in order', limited, async () => {
  const [connection, wire] = await onWire({})
  listen(connection, 'message', (message) => void connection.send(`at once: ${message}`))
  listen(connection, 'message', async (message) => {
    await Promise.resolve()
    connection.send(`awaited: ${message}`)
  })
  wire.push(received)
  await turn()
  const all = Buffer.concat(wire.writes)
  const read = numbers.flatMap((number) => [`at once: ${number}`, `awaited: ${number}`])
  assert.equal(all.length, framed(read).length)
  assert.ok(all.subarray(0, wire.writes[0]?.length).equals(wire.writes[0] ?? all))
  const at = numbers.map((number) => all.indexOf(frame(1, `at once: ${number}`, { masked: false })))
  const later = numbers.map((number) =>
    all.indexOf(frame(1, `awaited: ${number}`, { masked: false })),
  )
  for (const places of [at, later]) {
    assert.ok(places.every((place, index) => place > (places[index - 1] ?? -1)))
  }
  assert.ok(wire.writes.length <= 2, 'one for those at once, and one for those awaited')
  wire.destroy()
})

test(
  'messages, pings, pongs and a close frame of one turn leave in one write',
  limited,
  async () => {
    const [connection, wire] = await onWire({})
    connection.send('one')
    connection.ping('two')
    connection.send('three')
    connection.send(new Uint8Array(30_000))
    connection.close(1000, 'four')
    assert.equal(wire.writes.length, 0)
    await turn()
    assert.equal(wire.writes.length, 1)
    const unmasked = { masked: false }
    const expected = Buffer.concat([
      frame(1, 'one', unmasked),
      frame(9, 'two', unmasked),
      frame(1, 'three', unmasked),
      frame(2, new Uint8Array(30_000), unmasked),
      frame(8, closePayload(1000, 'four'), unmasked),
    ])
    assert.ok(wire.writes[0]?.equals(expected))
    wire.destroy()
  },
)

for (const [how, options] of [
  ['plain', {}],
  ['compressed', { compression: { threshold: 0 } }],
  ['in fragments', { fragmentationThreshold: 3 }],
  ['compressed in fragments', { compression: { threshold: 0 }, fragmentationThreshold: 3 }],
] as const) {
  test(`pongs, pings and messages keep their order: ${how}`, limited, async () => {
    await using scene = await Scene.set(options)
    const [connection, peer] = await scene.raw('compression' in options ? OFFER : {})
    listen(connection, 'message', (message) => {
      connection.send(`echo ${message}`)
      connection.ping(`${message}`)
      scene.server.emit(`emit ${message}`)
    })
    const sent: Buffer[] = []
    const expected: string[] = []
    for (let number = 0; number < 40; number++) {
      sent.push(frame(9, `p${number}`), frame(1, `${number}`))
      expected.push(`pong p${number}`)
      expected.push(label(`echo ${number}`), `ping ${number}`, label(`emit ${number}`))
    }
    peer.write(Buffer.concat([...sent, frame(8, closePayload(1000, 'end'))]))
    assert.deepEqual(story(await wholes(peer)), [...expected, 'close end'])
  })
}

test(
  'of many pings only the latest is answered where the pongs are not read',
  limited,
  async () => {
    await using scene = await Scene.set()
    const [connection, peer] = await scene.raw()
    const much = Buffer.alloc(8 * KIB * KIB, 'much')
    connection.send(much)
    await turn()
    const all = new Promise<void>((resolve) => {
      listen(connection, 'ping', (data) => {
        if (data === 'p49') resolve()
      })
    })
    peer.write(Buffer.concat(Array.from({ length: 50 }, (_, number) => frame(9, `p${number}`))))
    await all
    connection.send('behind')
    assert.deepEqual(await peer.frame().then((read) => read?.payload.length), much.length)
    assert.equal((await peer.frame())?.payload.toString(), 'behind')
    const pong = await peer.frame()
    assert.deepEqual([pong?.opcode, pong?.payload.toString()], [10, 'p49'])
    peer.send(9, 'p50')
    peer.send(8, closePayload(1000, 'end'))
    assert.deepEqual(story(await wholes(peer)), ['pong p50', 'close end'])
  },
)

test(
  'nothing follows the close frame that a frame over the limit is answered with',
  limited,
  async () => {
    await using scene = await Scene.set({ maxReceivedFrameSize: 100, useNagleAlgorithm: true })
    const [connection, peer] = await scene.raw()
    listen(connection, 'message', (message) => {
      connection.send(message)
      scene.server.emit(message)
    })
    peer.write(Buffer.concat([frame(1, 'small'), frame(1, 'x'.repeat(101))]))
    const told = story(await wholes(peer))
    assert.equal(told.at(-1), 'close frame size exceeds maximum of 100 Bytes.')
    assert.equal(connection.send('late'), false)
    scene.server.emit('late')
    peer.send(8, closePayload(1008))
    assert.equal((await peer.rest()).length, 0)
  },
)

test('what is sent to a peer that was reset goes nowhere, and does no harm', limited, async () => {
  await using scene = await Scene.set()
  const [connection, peer] = await scene.raw()
  const [, witness] = await scene.raw()
  const closed = once(connection, 'close')
  await peer.reset()
  for (let count = 0; count < 10_000 && connection.isOpen; count++) {
    connection.send('into the void')
    await turn()
  }
  assert.equal((await closed).code, 1006)
  scene.server.emit('still here')
  assert.equal((await witness.frame())?.payload.toString(), 'still here')
})

for (const compression of [true, { threshold: 0 }, { threshold: 0, level: 1, memLevel: 1 }]) {
  const how = JSON.stringify(compression)
  test(`what is compressed for many is inflated right by each: ${how}`, limited, async () => {
    await using scene = await Scene.set({ compression })
    const windows = [9, 10, 12, 15].map((serverMaxWindowBits) => ({
      perMessageDeflate: { serverMaxWindowBits },
    }))
    const members: Member[] = []
    // The one that asks for nothing lets the server keep its context.
    for (const options of [...windows, {}, { perMessageDeflate: false }]) {
      members.push(await scene.bare(options))
    }
    members.push(await scene.own({ compression: true }), await scene.own())
    const expected = members.map((): string[] => [])
    const random = seeded(8)
    for (let number = 0; number < 90; number++) {
      // Repeats itself nearer and farther than the windows reach.
      const part = noise(number, pick(random, [50, 300, 700, 1_500, 5_000, 20_000]))
      const data = Buffer.concat([part, part, part, Buffer.from(`${number}`)])
      const long = random() < 0.1 ? Buffer.concat([data, Buffer.alloc(LONG, data)]) : data
      const sent = random() < 0.5 ? long : long.toString('latin1')
      const only = random() < 0.3 ? Math.floor(random() * members.length) : undefined
      if (only === undefined) scene.server.emit(sent)
      else members[only]?.connection.send(sent)
      for (const [index, list] of expected.entries()) {
        if (only === undefined || only === index) list.push(label(sent))
      }
      if (random() < 0.1) await turn()
    }
    for (const { connection } of members) connection.ping('end')
    for (const [index, { ear }] of members.entries()) {
      assert.deepEqual(await ear.all(), expected[index], `member ${index}`)
    }
  })
}

test('what is compressed for one is what is compressed for many', limited, async () => {
  await using scene = await Scene.set({ compression: true })
  const offer = { 'Sec-WebSocket-Extensions': 'permessage-deflate; server_max_window_bits=10' }
  const [one, peer] = await scene.raw(offer)
  const data = text(9, 10 * KIB)
  one.send(data)
  one.send(Buffer.from(data))
  scene.server.emit(data)
  scene.server.emit(Buffer.from(data))
  const frames = [await peer.frame(), await peer.frame(), await peer.frame(), await peer.frame()]
  assert.deepEqual(
    frames.map((read) => [read?.opcode, read?.reserved]),
    [1, 2, 1, 2].map((opcode) => [opcode, 4]),
  )
  const [first, ...others] = frames.map((read) => read?.payload)
  assert.ok(first)
  for (const other of others) assert.deepEqual(other, first)
  assert.equal(inflated(first, 10).toString(), data)
})

for (const compression of [false, { threshold: 0 }]) {
  for (const fragmentationThreshold of [false, 3] as const) {
    const how = `compression ${compression !== false}, fragments ${fragmentationThreshold}`
    test(`a binary server sends text as bytes, and gets bytes: ${how}`, limited, async () => {
      await using scene = await Scene.set({ binary: true, compression, fragmentationThreshold })
      const members = [await scene.bare(), await scene.own({ compression: compression !== false })]
      for (const { connection } of members) {
        connection.send('grüße')
        connection.send(12)
        scene.server.emit('an alle')
        scene.server.room('none').emit('an keinen')
      }
      const both = label(Buffer.from('an alle'))
      const own = [label(Buffer.from('grüße')), label(Buffer.from('12'))]
      for (const { connection } of members) connection.ping('end')
      assert.deepEqual(await members[0]?.ear.all(), [...own, both, both])
      assert.deepEqual(await members[1]?.ear.all(), [both, ...own, both])
      const got = once(members[0]?.connection ?? assert.fail(), 'message')
      await scene.bare().then(({ socket }) => socket.close())
      const { client, connection } = await scene.own()
      client.send('text')
      assert.deepEqual(await once(connection, 'message'), Uint8Array.from(Buffer.from('text')))
      got.catch(() => {}) // nothing came to it
    })

    test(`an empty message is a message: ${how}`, limited, async () => {
      await using scene = await Scene.set({ compression, fragmentationThreshold })
      const bare = await scene.bare()
      const own = await scene.own({ compression: compression !== false })
      for (const empty of ['', new Uint8Array(0)]) {
        bare.connection.send(empty)
        bare.connection.send('between')
        own.connection.send(empty)
        own.connection.send('between')
        scene.server.emit(empty)
      }
      bare.connection.ping('end')
      own.connection.ping('end')
      const [nothing, none] = [label(''), label(new Uint8Array(0))]
      const between = label('between')
      const expected = [nothing, between, nothing, none, between, none]
      assert.deepEqual(await bare.ear.all(), expected)
      assert.deepEqual(await own.ear.all(), expected)
    })
  }
}

const lossless: [how: string, server: ServerOptions, client?: boolean][] = [
  ['plain', {}],
  ['in fragments', { fragmentationThreshold: 100 }],
  ['compressed', { compression: true }],
  ['masked', {}, true],
  ['masked and compressed', { compression: true }, true],
]

for (const [how, options, fromClient = false] of lossless) {
  for (const size of [500, 5_000, 20_000, LONG]) {
    test(`bytes may change once they are sent: ${how}, ${size}`, limited, async () => {
      await using scene = await Scene.set(options)
      const { connection, client, ear } = await scene.own({ compression: options.compression })
      const [from, heard] = fromClient ? [client, earOf(connection)] : [connection, ear]
      const bytes = new Uint8Array(size)
      const expected: string[] = []
      for (let number = 0; number < 15; number++) {
        bytes.fill(number)
        expected.push(label(bytes))
        from.send(bytes)
      }
      from.ping('end')
      assert.deepEqual(await heard.all(), expected)
    })
  }
}

test('what a ping carries may change once it is sent', limited, async () => {
  await using scene = await Scene.set()
  const { connection, socket } = await scene.bare()
  const payload = new Uint8Array(10).fill(1)
  const came = onceEmitted(socket, 'ping') as Promise<[Buffer]>
  const answered = connection.ping(payload)
  payload.fill(2)
  const [read] = await came
  assert.deepEqual([...read], new Array(10).fill(1))
  assert.ok((await answered) >= 0)
})

interface Marked {
  readonly how: string
  readonly options: ConnectionOptions
  readonly data: Data
  readonly act?: 'emit' | 'from the client'
}

const marked: readonly Marked[] = [
  { how: 'short text', options: {}, data: 'x'.repeat(100) },
  { how: 'long text', options: {}, data: 'ü'.repeat(10_000) },
  { how: 'short bytes', options: {}, data: noise(1, 100) },
  { how: 'long bytes', options: {}, data: noise(1, 50_000) },
  { how: 'emitted', options: {}, data: noise(1, 5_000), act: 'emit' },
  { how: 'in fragments', options: { fragmentationThreshold: 1_000 }, data: noise(1, 9_000) },
  { how: 'compressed here', options: { compression: true }, data: noise(1, 9_000) },
  { how: 'compressed here', options: { compression: true }, data: noise(1, 9_000), act: 'emit' },
  { how: 'compressed by ws', options: { compression: true }, data: noise(1, LONG) },
  { how: 'masked', options: {}, data: noise(1, 9_000), act: 'from the client' },
  {
    how: 'masked and compressed',
    options: { compression: true },
    data: noise(1, 9_000),
    act: 'from the client',
  },
  {
    how: 'masked in fragments',
    options: { fragmentationThreshold: 1_000 },
    data: noise(1, 9_000),
    act: 'from the client',
  },
]

for (const { how, options, data, act = 'send' } of marked) {
  test(
    `above the mark send says false, and one drain follows: ${how}, ${act}`,
    limited,
    async () => {
      const highWaterMark = 40_000
      await using scene = await Scene.set({ ...options, highWaterMark })
      const own = await scene.own({ ...options, highWaterMark })
      const from = act === 'from the client' ? own.client : own.connection
      if (act === 'from the client') listen(own.connection, 'message', () => {})
      let drains = 0
      listen(from, 'drain', () => drains++)
      const drained = once(from, 'drain')
      let sent = 0
      while (sent < 1_000 && from.bufferedAmount <= highWaterMark) {
        sent++
        if (act === 'emit') {
          scene.server.emit(data)
        } else {
          const more = from.send(data)
          assert.equal(more, from.bufferedAmount <= highWaterMark)
        }
      }
      assert.ok(sent < 1_000, 'all of one turn waits')
      assert.equal(from.send('one more'), false)
      assert.equal(from.send('another'), false)
      assert.equal(drains, 0)
      await drained
      assert.ok(from.bufferedAmount <= highWaterMark)
      await from.ping()
      assert.equal(drains, 1)
      assert.equal(from.bufferedAmount, 0)
      assert.equal(from.send('again'), true)
      assert.ok(from.bufferedAmount > 0)
      await from.ping()
      assert.equal(from.bufferedAmount, 0)
      assert.equal(drains, 1)
    },
  )
}

test('a drain follows where the headers of fragments lift it above the mark', limited, async () => {
  await using scene = await Scene.set({ fragmentationThreshold: 100, highWaterMark: 10_000 })
  const { connection } = await scene.bare()
  let drains = 0
  listen(connection, 'drain', () => drains++)
  assert.equal(connection.send(new Uint8Array(9_950)), false)
  await connection.ping()
  assert.equal(drains, 1)
})

test('a drain follows where what does not compress is lifted above the mark', limited, async () => {
  const compression = { memLevel: 1 }
  await using scene = await Scene.set({ compression, highWaterMark: 8_000 })
  const { connection } = await scene.bare()
  let drains = 0
  listen(connection, 'drain', () => drains++)
  assert.equal(connection.send(noise(1, 7_950)), false)
  await connection.ping()
  assert.equal(drains, 1)
})

test('a drain follows where pings wait behind the last message', limited, async () => {
  await using scene = await Scene.set({ highWaterMark: 1_000 })
  const { connection, socket } = await scene.bare()
  let drains = 0
  listen(connection, 'drain', () => drains++)
  socket.pause()
  assert.equal(connection.send(new Uint8Array(10_000_000)), false)
  await turn()
  const answers = Array.from({ length: 50 }, () => connection.ping('x'.repeat(125)))
  await turn()
  socket.resume()
  await Promise.all(answers)
  await connection.ping()
  assert.equal(connection.bufferedAmount, 0)
  assert.equal(drains, 1)
})

test('a drain follows a message that was dropped', limited, async () => {
  await using scene = await Scene.set({ maxBufferedAmount: 1_000, slowConsumer: 'drop' })
  const { connection, ear } = await scene.bare()
  let drains = 0
  listen(connection, 'drain', () => drains++)
  assert.equal(connection.send(new Uint8Array(900)), true)
  assert.equal(connection.send(new Uint8Array(200)), false)
  await connection.ping()
  assert.equal(drains, 1)
  assert.deepEqual(ear.heard.slice(0, 2), [label(new Uint8Array(900)), 'ping '])
})
