import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, Socket, type AddressInfo } from 'node:net'
import { Duplex } from 'node:stream'
import { test } from 'node:test'
import { PreparedMessage } from '../../../../lib/connection/message.ts'
import { BINARY, FIN, PING, TEXT } from '../../../../lib/transport/tcp/frames/frame.ts'
import { encodeFrame, FrameWriter } from '../../../../lib/transport/tcp/frames/frame-writer.ts'
import { frame } from '../../../support/rawpeer.ts'

const KIB = 1024
const MIB = KIB * KIB
const SLAB = 64 * KIB
const limited = { timeout: 20_000 } // what never comes fails, rather than to hang

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Returns a frame as an independent writer makes it. */
function framed(
  data: string | Uint8Array,
  first = typeof data === 'string' ? TEXT : BINARY,
): Buffer {
  return frame(first & 15, data, { masked: false, reserved: (first >> 4) & 7 })
}

/** Two ends over TCP: the writer writes to one, and a spec reads the other when it wants to. */
class Wires implements AsyncDisposable {
  readonly near: Socket
  readonly far: Socket

  private constructor(near: Socket, far: Socket) {
    this.near = near
    this.far = far
    for (const end of [near, far]) end.on('error', () => {})
  }

  static async lay(): Promise<Wires> {
    const server = createServer({ pauseOnConnect: true }).listen(0, 'localhost')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const came = once(server, 'connection') as Promise<[Socket]>
    const near = connect(port, 'localhost')
    const [[far]] = await Promise.all([came, once(near, 'connect')])
    server.close()
    return new Wires(near, far)
  }

  /** Reads so many bytes, or those up to the end where there are less. */
  async read(length: number): Promise<Buffer> {
    const chunks: Buffer[] = []
    let size = 0
    while (size < length) {
      const chunk = this.far.read() as Buffer | null
      if (chunk) {
        chunks.push(chunk)
        size += chunk.length
      } else if (this.far.readableEnded) {
        break
      } else {
        await Promise.race([once(this.far, 'readable'), once(this.far, 'end')])
      }
    }
    return Buffer.concat(chunks)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const end of [this.near, this.far]) {
      end.destroy()
      if (!end.closed) await once(end, 'close')
    }
  }
}

/** Reads what is expected, and fails with the place where something else came. */
async function expectBytes(wires: Wires, expected: Buffer): Promise<void> {
  const read = await wires.read(expected.length)
  assert.equal(read.length, expected.length)
  if (read.equals(expected)) return
  const at = read.findIndex((byte, index) => byte !== expected[index])
  assert.fail(`other bytes from ${at} on`)
}

/** A socket that notes every write, and can be told to end one only later. */
class Wire extends Duplex {
  readonly writes: Buffer[] = []

  override _read(): void {}

  override _write(chunk: Buffer, _: string, done: () => void): void {
    this.#note([chunk], done)
  }

  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this.#note(
      chunks.map(({ chunk }) => chunk),
      done,
    )
  }

  #note(chunks: Buffer[], done: () => void): void {
    this.writes.push(Buffer.concat(chunks))
    done()
  }
}

/** Makes a writer that masks nothing, on any stream. */
function writerOn(tcp: Duplex, fragmentationThreshold: number | false = false): FrameWriter {
  return new FrameWriter(tcp, { isMasked: false, fragmentationThreshold })
}

/** Makes a writer on a wire. */
function onWire(): [FrameWriter, Wire] {
  const wire = new Wire()
  return [writerOn(wire), wire]
}

const lengths = [
  0,
  1,
  41,
  42,
  63,
  64,
  65,
  125,
  126,
  127,
  5_461, // three bytes for each are just what is copied
  5_462,
  16 * KIB - 1,
  16 * KIB,
  16 * KIB + 1,
  65_535,
  65_536,
  MIB,
]
const letters: [what: string, letter: string][] = [
  ['ASCII', 'x'],
  ['umlauts', 'ü'],
  ['signs of three bytes', '€'],
  ['emoji', '😀'],
  ['halves of emoji', '\ud83d'],
  ['the other halves', '\ude00'],
  ['letters with an umlaut now and then', 'abcdefü'],
  ['the last that takes one byte', '\x7f'],
  ['the first that takes two', '\x80'],
]

for (const [what, letter] of letters) {
  test(`a text of every length is framed: ${what}`, limited, async () => {
    await using wires = await Wires.lay()
    const writer = writerOn(wires.near)
    for (const length of lengths) {
      const text = letter.repeat(length).slice(0, length)
      const expected = framed(text)
      writer.writeMessage(text)
      assert.equal(writer.size, expected.length)
      await expectBytes(wires, expected)
      assert.equal(writer.size, 0)
    }
  })
}

test('bytes of every length are framed', limited, async () => {
  await using wires = await Wires.lay()
  const writer = writerOn(wires.near)
  for (const length of lengths) {
    const bytes = Buffer.alloc(length, 'bytes')
    for (const first of [BINARY, TEXT, 0x40 | TEXT]) {
      const expected = framed(bytes, first)
      writer.writePayload(first, bytes)
      assert.equal(writer.size, expected.length)
      await expectBytes(wires, expected)
      assert.ok(Buffer.from(encodeFrame(FIN | first, bytes)).equals(expected))
    }
  }
})

test('texts and bytes of every length leave in order in one turn', limited, async () => {
  await using wires = await Wires.lay()
  const writer = writerOn(wires.near)
  const expected: Buffer[] = []
  for (const length of [...lengths, ...lengths.toReversed()]) {
    for (const [, letter] of letters) {
      const text = letter.repeat(length).slice(0, length)
      writer.writeMessage(text)
      writer.writePayload(BINARY, Buffer.from(text))
      expected.push(framed(text), framed(Buffer.from(text)))
    }
  }
  const all = Buffer.concat(expected)
  assert.equal(writer.size, all.length)
  await expectBytes(wires, all)
  assert.equal(writer.size, 0)
})

test('the frames of several writers in one turn do not mix', limited, async () => {
  const all = await Promise.all(Array.from({ length: 5 }, () => Wires.lay()))
  const members = all.map((wires) => ({
    wires,
    writer: writerOn(wires.near),
    expected: [] as Buffer[],
  }))
  let number = 0
  for (let round = 0; round < 40; round++) {
    for (let count = 0; count < 100; count++) {
      number = (number * 31 + 7) % 65_521
      const member = members[number % members.length] ?? assert.fail()
      const text = `${round} ${count} ${'äx'.repeat(number % 200)}`
      const kind = number % 7
      if (kind === 0) {
        const ready = encodeFrame(FIN | BINARY, Buffer.from(text))
        member.writer.writeFrame(ready)
        member.expected.push(framed(Buffer.from(text)))
      } else if (kind === 1) {
        member.writer.writePayload(BINARY, Buffer.from(text))
        member.expected.push(framed(Buffer.from(text)))
      } else {
        member.writer.writeMessage(text)
        member.expected.push(framed(text))
      }
      if (number % 50 === 0) member.writer.flush()
    }
    if (round % 3 === 0) await turn()
  }
  try {
    for (const { wires, expected } of members) await expectBytes(wires, Buffer.concat(expected))
  } finally {
    for (const wires of all) await wires[Symbol.asyncDispose]()
  }
})

test(
  'a slab that is full is left for a new one, wherever a frame falls on its end',
  limited,
  async () => {
    await using wires = await Wires.lay()
    await using others = await Wires.lay()
    const writer = writerOn(wires.near)
    const other = writerOn(others.near)
    for (let length = 1_000; length < 1_040; length++) {
      const frames: Buffer[] = []
      const between: Buffer[] = []
      for (let filled = 0; filled < 3 * SLAB; filled += 2 * length) {
        const text = `${filled}`.padEnd(length, '.')
        writer.writeMessage(text)
        other.writeMessage(text)
        writer.writeMessage(text)
        frames.push(framed(text), framed(text))
        between.push(framed(text))
      }
      await expectBytes(wires, Buffer.concat(frames))
      await expectBytes(others, Buffer.concat(between))
    }
  },
)

test('bytes may change once they are sent', limited, async () => {
  await using wires = await Wires.lay()
  const writer = writerOn(wires.near)
  const expected: Buffer[] = []
  for (const length of [10, 1_000, 16 * KIB, 16 * KIB + 1, 100 * KIB]) {
    const bytes = Buffer.alloc(length, 1)
    writer.writePayload(BINARY, bytes)
    expected.push(framed(bytes))
    bytes.fill(2)
  }
  await expectBytes(wires, Buffer.concat(expected))
})

test('nothing leaves before the turn ends, and then all in one write', async () => {
  const [writer, wire] = onWire()
  const expected: Buffer[] = []
  for (let number = 0; number < 64; number++) {
    writer.writeMessage(`${number}`)
    expected.push(framed(`${number}`))
  }
  assert.equal(wire.writes.length, 0)
  await turn()
  assert.deepEqual(wire.writes, [Buffer.concat(expected)])
})

test('pieces from everywhere leave in one write: few bytes, and many', async () => {
  for (const length of [10, 5_000, 20_000]) {
    const [writer, wire] = onWire()
    const [other, elsewhere] = onWire()
    const bytes = Buffer.alloc(length, 'b')
    const ready = encodeFrame(FIN | TEXT, bytes)
    for (let count = 0; count < 3; count++) {
      writer.writeMessage('text')
      other.writeMessage('in between')
      writer.writePayload(BINARY, bytes)
      writer.writeFrame(ready)
    }
    await turn()
    const round = Buffer.concat([framed('text'), framed(bytes), ready])
    assert.deepEqual(wire.writes, [Buffer.concat([round, round, round])])
    assert.equal(elsewhere.writes.length, 1)
  }
})

test('a turn without anything to send writes nothing', async () => {
  const [writer, wire] = onWire()
  writer.flush()
  await turn()
  writer.flush()
  assert.equal(wire.writes.length, 0)
  writer.writeMessage('now')
  await turn()
  assert.deepEqual(wire.writes, [framed('now')])
})

test('flush hands on at once, and nothing twice', async () => {
  const [writer, wire] = onWire()
  writer.writeMessage('one')
  writer.flush()
  assert.deepEqual(wire.writes, [framed('one')])
  assert.equal(writer.size, 0)
  writer.writeMessage('two')
  writer.writeMessage('three')
  writer.flush()
  writer.flush()
  await turn()
  assert.deepEqual(wire.writes, [framed('one'), Buffer.concat([framed('two'), framed('three')])])
})

test('what is sent while a turn is handed on is not lost', async () => {
  const [writer, wire] = onWire()
  writer.writeMessage('first')
  writer.notify(() => writer.writeMessage('second'))
  await turn()
  await turn()
  assert.deepEqual(wire.writes, [framed('first'), framed('second')])
})

for (const [what, send, size] of [
  ['one piece', (writer) => writer.writeMessage('text'), 6],
  [
    'few bytes in pieces',
    (writer) => {
      writer.writeMessage('text')
      writer.writeFrame(framed('frame'))
    },
    13,
  ],
  [
    'many bytes in pieces',
    (writer) => {
      writer.writeMessage('text')
      writer.writePayload(BINARY, Buffer.alloc(100 * KIB))
    },
    6 + 10 + 100 * KIB,
  ],
] as [what: string, send: (writer: FrameWriter) => void, size: number][]) {
  test(`it is told once when what was gathered has been handed on: ${what}`, limited, async () => {
    await using wires = await Wires.lay()
    const writer = writerOn(wires.near)
    let told = 0
    send(writer)
    assert.equal(writer.size, size)
    writer.notify(() => told++)
    writer.notify(() => told++) // the same, asked for again
    assert.equal(told, 0)
    assert.equal((await wires.read(size)).length, size)
    await turn()
    assert.equal(told, 1)
    writer.writeMessage('more')
    await wires.read(6)
    await turn()
    assert.equal(told, 1)
    assert.equal(writer.size, 0)
  })
}

test('it is told where there is nothing of its own to hand on', limited, async () => {
  await using wires = await Wires.lay()
  const writer = writerOn(wires.near)
  await new Promise<void>((resolve) => writer.notify(resolve))
  assert.equal(writer.size, 0)
})

test('it is told only when all before it has been read', limited, async () => {
  await using wires = await Wires.lay()
  const writer = writerOn(wires.near)
  const bytes = Buffer.alloc(20 * MIB, 'much')
  let told = false
  writer.writePayload(BINARY, bytes)
  writer.writeMessage('last')
  writer.notify(() => (told = true))
  await turn()
  assert.equal(writer.size, 0)
  assert.ok(wires.near.writableLength > 0)
  assert.equal(told, false)
  await expectBytes(wires, Buffer.concat([framed(bytes), framed('last')]))
  await turn()
  assert.equal(told, true)
  assert.equal(wires.near.writableLength, 0)
})

test('nothing of the slab is written twice while a peer reads slowly', limited, async () => {
  await using wires = await Wires.lay()
  await using others = await Wires.lay()
  const writer = writerOn(wires.near)
  const other = writerOn(others.near)
  const expected: Buffer[] = []
  const theirs: Buffer[] = []
  for (let number = 0; number < 60_000; number++) {
    const text = `${number} ${'.'.repeat((number * 37) % 500)}`
    writer.writeMessage(text)
    expected.push(framed(text))
    if (number % 3 === 0) {
      const bytes = Buffer.from(`${number}`.repeat(20))
      other.writePayload(BINARY, bytes)
      theirs.push(framed(bytes))
    }
    if (number % 300 === 0) await turn()
  }
  await turn()
  assert.ok(wires.near.writableLength + writer.size > 5 * MIB, 'the kernel took all of it')
  await expectBytes(wires, Buffer.concat(expected))
  await expectBytes(others, Buffer.concat(theirs))
})

for (const [how, leave] of [
  ['has ended', (tcp) => void tcp.end()],
  ['was destroyed', (tcp) => void tcp.destroy()],
] as [how: string, leave: (tcp: Socket) => void][]) {
  test(`a socket that ${how} swallows what comes too late`, limited, async () => {
    await using wires = await Wires.lay()
    const writer = writerOn(wires.near)
    const errors: unknown[] = []
    wires.near.on('error', (error) => errors.push(error))
    writer.writeMessage('in time')
    writer.flush()
    writer.writeMessage('too late')
    writer.writeFrame(framed('too late'))
    let told = false
    writer.notify(() => (told = true))
    leave(wires.near)
    await turn()
    assert.equal(writer.size, 0)
    writer.writeMessage('much too late')
    writer.writePayload(BINARY, Buffer.alloc(100 * KIB))
    writer.flush()
    assert.equal(writer.size, 0)
    await turn()
    await expectBytes(wires, framed('in time'))
    assert.equal((await wires.read(1)).length, 0)
    assert.deepEqual(errors, [])
    assert.equal(told, false)
  })
}

test('a socket that fails harms no other of the same turn', limited, async () => {
  await using wires = await Wires.lay()
  await using others = await Wires.lay()
  const writer = writerOn(wires.near)
  const other = writerOn(others.near)
  writer.writeMessage('lost')
  other.writeMessage('here')
  wires.near.destroy()
  await expectBytes(others, framed('here'))
  assert.equal(writer.size, 0)
})

test(
  'what many are sent in a turn is the same for all, and what few get besides is theirs',
  limited,
  async () => {
    await using one = await Wires.lay()
    await using two = await Wires.lay()
    await using three = await Wires.lay()
    const writers = [one, two, three].map(({ near }) => writerOn(near))
    const [news, more] = [
      encodeFrame(FIN | TEXT, Buffer.from('news')),
      encodeFrame(FIN | TEXT, Buffer.from('more')),
    ]
    for (const writer of writers) writer.writeFrame(news)
    writers[2]?.writeMessage('for you')
    for (const writer of writers) writer.writeFrame(more)
    const [both, aside] = [Buffer.concat([news, more]), framed('for you')]
    await expectBytes(one, both)
    await expectBytes(two, both)
    await expectBytes(three, Buffer.concat([news, aside, more]))

    for (const writer of writers) writer.writeFrame(more)
    for (const wires of [one, two, three]) await expectBytes(wires, Buffer.from(more))
  },
)

test('a text is framed right whatever its length in bytes turns out to be', limited, async () => {
  await using wires = await Wires.lay()
  const writer = writerOn(wires.near)
  for (const letters of [40, 41, 42, 62, 63, 125, 126, 21_845, 21_846, 32_767, 65_535, 65_536]) {
    for (const letter of ['x', 'ü', '€', '\ud83d']) {
      const texts = [letter.repeat(letters), `${'x'.repeat(letters - 1)}${letter}`, letter]
      for (const text of texts) writer.writeMessage(text)
      await expectBytes(wires, Buffer.concat(texts.map((text) => framed(text))))
    }
  }
})

test('a client masks each frame with a key of its own', limited, async () => {
  const wire = new Wire()
  const writer = new FrameWriter(wire, { isMasked: true, fragmentationThreshold: false })
  const prepared = new PreparedMessage('prepared')
  const sent = ['short', 'ü'.repeat(100), 'x'.repeat(70_000), Buffer.alloc(70_000, 7)]
  const keys = new Set<string>()
  for (const message of [...sent, prepared, prepared]) {
    writer.writeMessage(message)
    await turn()
    const bytes = wire.writes.pop() ?? assert.fail()
    const data = message instanceof PreparedMessage ? message.data : message
    const header = framed(data).length - Buffer.byteLength(data)
    const key = bytes.subarray(header, header + 4)
    keys.add(key.toString('hex'))
    const first = typeof data === 'string' ? TEXT : BINARY
    assert.ok(bytes.equals(frame(first, data, { masked: true, key })))
  }
  assert.equal(keys.size, 6)
})

for (const isMasked of [false, true]) {
  test(`what is longer than the threshold leaves in fragments, masked: ${isMasked}`, async () => {
    const wire = new Wire()
    const writer = new FrameWriter(wire, { isMasked, fragmentationThreshold: 100 })
    const long = 'grüße '.repeat(55)
    for (const message of [long, Buffer.from(long), new PreparedMessage(long)]) {
      writer.writeMessage(message)
      writer.writePayload(PING, Buffer.alloc(120))
      writer.writeMessage('x'.repeat(100))
      await turn()
      const shapes = framesOf(wire.writes.pop() ?? assert.fail())
      const text =
        typeof message === 'string' || (message instanceof PreparedMessage && message.isText)
      const [first, ...others] = [text ? '1' : '2', '0 100', '0 100', '0 100', '80 40']
      assert.deepEqual(shapes, [`${first} 100`, ...others, '89 120', '81 100'])
    }
  })
}

/** Tells of each frame its first byte, and how long its payload is. */
function framesOf(bytes: Buffer): string[] {
  const shapes: string[] = []
  for (let at = 0; at < bytes.length;) {
    const second = bytes[at + 1] ?? 0
    const size = (second & 0x7f) === 126 ? bytes.readUInt16BE(at + 2) : second & 0x7f
    shapes.push(`${(bytes[at] ?? 0).toString(16)} ${size}`)
    at += 2 + ((second & 0x7f) === 126 ? 2 : 0) + (second > 0x7f ? 4 : 0) + size
  }
  return shapes
}

test('short texts are framed in the slab, however full it is', async () => {
  const texts = 100
  for (const [length, letter] of [
    [32, 'x'],
    [33, 'ü'],
    [41, 'x'],
  ] as const) {
    let turns = 0
    let turnsInSlab = 0
    const keeper = new Duplex({
      read() {},
      write(chunk: Buffer, _, done) {
        turns++
        if (chunk.length < chunk.buffer.byteLength) turnsInSlab++
        done()
      },
    })
    const writer = writerOn(keeper)
    for (let count = 0; count < 200; count++) {
      for (let text = 0; text < texts; text++) writer.writeMessage(letter.repeat(length))
      await turn()
    }
    // Where a slab ends, the frames of one turn lie in two.
    assert.ok(turns === 200 && turnsInSlab > 100, `${turnsInSlab} of ${turns} turns in the slab`)
  }
})

test('a stream that hands on the memory it was given is never given it twice', async () => {
  const chunks: Buffer[] = []
  const keeper = new Duplex({
    read: () => {},
    write: (chunk: Buffer, _, done) => {
      chunks.push(chunk)
      done()
    },
  })
  const writer = writerOn(keeper)
  for (let number = 0; number < 50; number++) {
    writer.writeMessage(`number ${number}`)
    await turn()
  }
  const expected = Array.from({ length: 50 }, (_, number) => framed(`number ${number}`))
  assert.deepEqual(chunks, expected)
})
