import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, Socket, type AddressInfo } from 'node:net'
import { Duplex } from 'node:stream'
import { test } from 'node:test'
import { BINARY, frameOf, Outbox, TEXT } from '../../lib/transport/outbox.ts'
import { frame } from '../rawpeer.ts'

const KIB = 1024
const MIB = KIB * KIB
const SLAB = 64 * KIB
const limited = { timeout: 20_000 } // what never comes fails, rather than to hang

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Is a frame as another hand writes it. */
function framed(
  data: string | Uint8Array,
  first = typeof data === 'string' ? TEXT : BINARY,
): Buffer {
  return frame(first & 15, data, { masked: false, reserved: (first >> 4) & 7 })
}

/** Two ends over TCP: the outbox writes to one, and a spec reads the other when it wants to. */
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

/** Makes an outbox on a wire: all of a socket that an outbox knows is that it is a stream. */
function onWire(): [Outbox, Wire] {
  const wire = new Wire()
  return [new Outbox(wire as unknown as Socket), wire]
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
    const outbox = new Outbox(wires.near)
    for (const length of lengths) {
      const text = letter.repeat(length).slice(0, length)
      const expected = framed(text)
      outbox.text(text)
      assert.equal(outbox.size, expected.length)
      await expectBytes(wires, expected)
      assert.equal(outbox.size, 0)
    }
  })
}

test('bytes of every length are framed', limited, async () => {
  await using wires = await Wires.lay()
  const outbox = new Outbox(wires.near)
  for (const length of lengths) {
    const bytes = Buffer.alloc(length, 'bytes')
    for (const first of [BINARY, TEXT, 0x40 | TEXT]) {
      const expected = framed(bytes, first)
      outbox.bytes(first, bytes)
      assert.equal(outbox.size, expected.length)
      await expectBytes(wires, expected)
      assert.ok(Buffer.from(frameOf(first, bytes)).equals(expected))
    }
  }
})

test('texts and bytes of every length leave in order in one turn', limited, async () => {
  await using wires = await Wires.lay()
  const outbox = new Outbox(wires.near)
  const expected: Buffer[] = []
  for (const length of [...lengths, ...lengths.toReversed()]) {
    for (const [, letter] of letters) {
      const text = letter.repeat(length).slice(0, length)
      outbox.text(text)
      outbox.bytes(BINARY, Buffer.from(text))
      expected.push(framed(text), framed(Buffer.from(text)))
    }
  }
  const all = Buffer.concat(expected)
  assert.equal(outbox.size, all.length)
  await expectBytes(wires, all)
  assert.equal(outbox.size, 0)
})

test('the frames of several outboxes in one turn do not mix', limited, async () => {
  const all = await Promise.all(Array.from({ length: 5 }, () => Wires.lay()))
  const members = all.map((wires) => ({
    wires,
    outbox: new Outbox(wires.near),
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
        const ready = frameOf(BINARY, Buffer.from(text))
        member.outbox.frame(ready)
        member.expected.push(framed(Buffer.from(text)))
      } else if (kind === 1) {
        member.outbox.bytes(BINARY, Buffer.from(text))
        member.expected.push(framed(Buffer.from(text)))
      } else {
        member.outbox.text(text)
        member.expected.push(framed(text))
      }
      if (number % 50 === 0) member.outbox.flush()
      if (number % 61 === 0) member.outbox.yield()
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
    const outbox = new Outbox(wires.near)
    const other = new Outbox(others.near)
    for (let length = 1_000; length < 1_040; length++) {
      const frames: Buffer[] = []
      const between: Buffer[] = []
      for (let filled = 0; filled < 3 * SLAB; filled += 2 * length) {
        const text = `${filled}`.padEnd(length, '.')
        outbox.text(text)
        other.text(text)
        outbox.text(text)
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
  const outbox = new Outbox(wires.near)
  const expected: Buffer[] = []
  for (const length of [10, 1_000, 16 * KIB, 16 * KIB + 1, 100 * KIB]) {
    const bytes = Buffer.alloc(length, 1)
    outbox.bytes(BINARY, bytes)
    expected.push(framed(bytes))
    bytes.fill(2)
  }
  await expectBytes(wires, Buffer.concat(expected))
})

test('nothing leaves before the turn ends, and then all in one write', async () => {
  const [outbox, wire] = onWire()
  const expected: Buffer[] = []
  for (let number = 0; number < 64; number++) {
    outbox.text(`${number}`)
    expected.push(framed(`${number}`))
  }
  assert.equal(wire.writes.length, 0)
  await turn()
  assert.deepEqual(wire.writes, [Buffer.concat(expected)])
})

test('pieces from everywhere leave in one write: few bytes, and many', async () => {
  for (const length of [10, 5_000, 20_000]) {
    const [outbox, wire] = onWire()
    const [other, elsewhere] = onWire()
    const bytes = Buffer.alloc(length, 'b')
    const ready = frameOf(TEXT, bytes)
    for (let count = 0; count < 3; count++) {
      outbox.text('text')
      other.text('in between')
      outbox.bytes(BINARY, bytes)
      outbox.frame(ready)
    }
    await turn()
    const round = Buffer.concat([framed('text'), framed(bytes), ready])
    assert.deepEqual(wire.writes, [Buffer.concat([round, round, round])])
    assert.equal(elsewhere.writes.length, 1)
  }
})

test('a turn without anything to send writes nothing', async () => {
  const [outbox, wire] = onWire()
  outbox.flush()
  outbox.yield()
  await turn()
  outbox.flush()
  assert.equal(wire.writes.length, 0)
  outbox.text('now')
  await turn()
  assert.deepEqual(wire.writes, [framed('now')])
})

test('what somebody else writes joins the turn, behind what was gathered', async () => {
  const [outbox, wire] = onWire()
  outbox.text('one')
  outbox.yield()
  wire.write('two')
  outbox.text('three')
  outbox.yield()
  outbox.yield()
  wire.write('four')
  outbox.frame(Buffer.from('five'))
  assert.equal(wire.writes.length, 0)
  await turn()
  const expected = [framed('one'), 'two', framed('three'), 'four', 'five']
  assert.deepEqual(wire.writes, [Buffer.concat(expected.map((part) => Buffer.from(part)))])
  wire.write('after')
  assert.equal(wire.writes.length, 2)
})

test('flush hands on at once, and nothing twice', async () => {
  const [outbox, wire] = onWire()
  outbox.text('one')
  outbox.flush()
  assert.deepEqual(wire.writes, [framed('one')])
  assert.equal(outbox.size, 0)
  outbox.text('two')
  outbox.text('three')
  outbox.flush()
  outbox.flush()
  outbox.yield()
  wire.write('four')
  outbox.flush()
  await turn()
  assert.deepEqual(wire.writes, [
    framed('one'),
    Buffer.concat([framed('two'), framed('three')]),
    Buffer.from('four'),
  ])
})

test('what is sent while a turn is handed on is not lost', async () => {
  const [outbox, wire] = onWire()
  outbox.text('first')
  outbox.notify(() => outbox.text('second'))
  await turn()
  await turn()
  assert.deepEqual(wire.writes, [framed('first'), framed('second')])
})

for (const [what, send, size] of [
  ['one piece', (outbox) => outbox.text('text'), 6],
  [
    'few bytes in pieces',
    (outbox) => {
      outbox.text('text')
      outbox.frame(framed('frame'))
    },
    13,
  ],
  [
    'many bytes in pieces',
    (outbox) => {
      outbox.text('text')
      outbox.bytes(BINARY, Buffer.alloc(100 * KIB))
    },
    6 + 10 + 100 * KIB,
  ],
] as [what: string, send: (outbox: Outbox) => void, size: number][]) {
  test(`it is told once when what was gathered has been handed on: ${what}`, limited, async () => {
    await using wires = await Wires.lay()
    const outbox = new Outbox(wires.near)
    let told = 0
    send(outbox)
    assert.equal(outbox.size, size)
    outbox.notify(() => told++)
    outbox.notify(() => told++) // the same, asked for again
    assert.equal(told, 0)
    assert.equal((await wires.read(size)).length, size)
    await turn()
    assert.equal(told, 1)
    outbox.text('more')
    await wires.read(6)
    await turn()
    assert.equal(told, 1)
    assert.equal(outbox.size, 0)
  })
}

test('it is told where there is nothing of its own to hand on', limited, async () => {
  await using wires = await Wires.lay()
  const outbox = new Outbox(wires.near)
  await new Promise<void>((resolve) => outbox.notify(resolve))
  assert.equal(outbox.size, 0)
})

test('it is told only when all before it has been read', limited, async () => {
  await using wires = await Wires.lay()
  const outbox = new Outbox(wires.near)
  const bytes = Buffer.alloc(20 * MIB, 'much')
  let told = false
  outbox.bytes(BINARY, bytes)
  outbox.text('last')
  outbox.notify(() => (told = true))
  await turn()
  assert.equal(outbox.size, 0)
  assert.ok(wires.near.writableLength > 0)
  assert.equal(told, false)
  await expectBytes(wires, Buffer.concat([framed(bytes), framed('last')]))
  await turn()
  assert.equal(told, true)
  assert.equal(wires.near.writableLength, 0)
})

test('nothing of the slab is written twice while somebody reads slowly', limited, async () => {
  await using wires = await Wires.lay()
  await using others = await Wires.lay()
  const outbox = new Outbox(wires.near)
  const other = new Outbox(others.near)
  const expected: Buffer[] = []
  const theirs: Buffer[] = []
  for (let number = 0; number < 60_000; number++) {
    const text = `${number} ${'.'.repeat((number * 37) % 500)}`
    outbox.text(text)
    expected.push(framed(text))
    if (number % 3 === 0) {
      const bytes = Buffer.from(`${number}`.repeat(20))
      other.bytes(BINARY, bytes)
      theirs.push(framed(bytes))
    }
    if (number % 300 === 0) await turn()
  }
  await turn()
  assert.equal(outbox.size, 0)
  assert.ok(wires.near.writableLength > 5 * MIB, 'the kernel took all of it')
  await expectBytes(wires, Buffer.concat(expected))
  await expectBytes(others, Buffer.concat(theirs))
})

for (const [how, leave] of [
  ['has ended', (tcp) => void tcp.end()],
  ['was destroyed', (tcp) => void tcp.destroy()],
] as [how: string, leave: (tcp: Socket) => void][]) {
  test(`a socket that ${how} swallows what comes too late`, limited, async () => {
    await using wires = await Wires.lay()
    const outbox = new Outbox(wires.near)
    const errors: unknown[] = []
    wires.near.on('error', (error) => errors.push(error))
    outbox.text('in time')
    outbox.flush()
    outbox.text('too late')
    outbox.frame(framed('too late'))
    let told = false
    outbox.notify(() => (told = true))
    leave(wires.near)
    await turn()
    assert.equal(outbox.size, 0)
    outbox.text('much too late')
    outbox.bytes(BINARY, Buffer.alloc(100 * KIB))
    outbox.yield()
    outbox.flush()
    assert.equal(outbox.size, 0)
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
  const outbox = new Outbox(wires.near)
  const other = new Outbox(others.near)
  outbox.text('lost')
  other.text('here')
  wires.near.destroy()
  await expectBytes(others, framed('here'))
  assert.equal(outbox.size, 0)
})

test(
  'what many are sent in a turn is the same for all, and what few get besides is theirs',
  limited,
  async () => {
    await using one = await Wires.lay()
    await using two = await Wires.lay()
    await using three = await Wires.lay()
    const outboxes = [one, two, three].map(({ near }) => new Outbox(near))
    const [news, more] = [frameOf(TEXT, Buffer.from('news')), frameOf(TEXT, Buffer.from('more'))]
    for (const outbox of outboxes) outbox.frame(news)
    outboxes[2]?.text('for you')
    for (const outbox of outboxes) outbox.frame(more)
    const [both, aside] = [Buffer.concat([news, more]), framed('for you')]
    await expectBytes(one, both)
    await expectBytes(two, both)
    await expectBytes(three, Buffer.concat([news, aside, more]))

    for (const outbox of outboxes) outbox.frame(more)
    for (const wires of [one, two, three]) await expectBytes(wires, Buffer.from(more))
  },
)
