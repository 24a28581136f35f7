import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { listen, once, WebsocketClient, WebsocketServer } from 'simplewebsockets'
import { ChannelServer } from 'simplewebsockets/channels'
import { closing } from '../support/channels/badframes.ts'
import { RawPeer } from '../support/rawpeer.ts'
import { alarms, handles, restored, turn } from '../support/scene.ts'

const TARGET = '/socket/websocket?vsn=2.0.0'
const TEXT = 1
const BINARY = 2
const CRASH = 'channel_crash'

/** Answers of a listener that can't be said. */
const unsayable = new Map<string, () => unknown>([
  ['a BigInt', () => 5n],
  [
    'a cycle',
    () => {
      const cycle: Record<string, unknown> = {}
      return Object.assign(cycle, { cycle })
    },
  ],
  ['a throwing toJSON', () => ({ toJSON: () => assert.fail('no') })],
  ['a getter that throws', () => Object.defineProperty({}, 'x', { enumerable: true, get: boom })],
  ['a nesting of 10^5', () => nested(100_000)],
])

function nested(levels: number): unknown {
  let inner: unknown = 0
  for (let level = 0; level < levels; level++) inner = [inner]
  return inner
}

function boom(): never {
  throw new Error('boom')
}

/** Channels with two members of a room, who must hear each other whatever a third one does. */
class Hall implements AsyncDisposable {
  readonly server = new WebsocketServer({ closeTimeout: 200 })
  readonly channels = new ChannelServer(this.server)
  readonly neighbours: RawPeer[] = []
  readonly #handles = handles()
  port = 0

  static async set(): Promise<Hall> {
    const hall = new Hall()
    listen(hall.channels.topic('*'), 'join', ({ channel, accept }) => {
      listen(channel.messages, 'say', ({ payload, reply }) => {
        channel.broadcast('say', payload)
        reply()
      })
      listen(channel.messages, 'ask', ({ payload, reply }) => {
        reply(unsayable.get(String(payload))?.())
      })
      accept()
    })
    listen(hall.server, 'error', () => {})
    listen(hall.channels, 'error', () => {})
    hall.port = (await hall.server.serve(0)).port
    for (let count = 0; count < 2; count++) hall.neighbours.push(await hall.enter('room'))
    return hall
  }

  async enter(topic: string): Promise<RawPeer> {
    const peer = await RawPeer.enter(this.port, { target: TARGET })
    say(peer, ['1', '1', topic, 'phx_join', {}])
    assert.deepEqual(await heard(peer), ['1', '1', topic, 'phx_reply', ok()])
    return peer
  }

  /** One neighbour speaks, the other one hears it, and nothing was said besides. */
  async calm(): Promise<void> {
    const [one, other] = this.neighbours
    assert.ok(one && other)
    say(one, ['1', '2', 'room', 'say', { still: 'here' }])
    assert.deepEqual(await heard(one), ['1', '2', 'room', 'phx_reply', ok()])
    assert.deepEqual(await heard(other), [null, null, 'room', 'say', { still: 'here' }])
    await turn()
    assert.deepEqual(alarms, [])
    assert.equal(this.server.clients.size, 2)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closing = this.server.close()
    for (const { tcp } of this.neighbours) tcp.destroy()
    await closing
    await restored(this.#handles)
  }
}

function say(peer: RawPeer, ...frames: unknown[]): void {
  for (const frame of frames) peer.send(TEXT, JSON.stringify(frame))
}

async function heard(peer: RawPeer): Promise<unknown> {
  return JSON.parse((await peer.next(TEXT))?.payload.toString() ?? 'null')
}

function ok(response: unknown = {}): unknown {
  return { status: 'ok', response }
}

function refused(reason: string): unknown {
  return { status: 'error', response: { reason } }
}

/** Goes at once, and is gone there, too. */
async function reset(hall: Hall, peer: RawPeer): Promise<void> {
  await peer.reset()
  while (hall.server.clients.size > 2) {
    const [, , stranger] = hall.server.clients
    if (stranger) await once(stranger, 'close')
  }
}

suite('channels through raw sockets', () => {
  for (const [what, frame, code] of closing) {
    test(`a peer that sends ${what} is closed with ${code}, and told why`, async () => {
      await using hall = await Hall.set()
      const peer = await hall.enter('own')
      peer.send(typeof frame === 'string' ? TEXT : BINARY, frame)
      const reason = await peer.closed()
      assert.equal(reason?.code, code)
      assert.notEqual(reason.description, '')
      await reset(hall, peer)
      await hall.calm()
    })
  }

  for (const [what, frames, answers] of [
    [
      'events named error, close and __proto__',
      ['error', 'close', '__proto__'].map((event) => ['1', '2', 'own', event, {}]),
      [1, 2, 3].map(() => ['1', '2', 'own', 'phx_reply', refused('unhandled event')]),
    ],
    ['a stale join_ref', [['0', '2', 'own', 'say', {}]], []],
    ['a null ref', [[null, null, 'own', 'say', {}]], []],
    ['a null join_ref', [[null, '2', 'own', 'say', {}]], [['1', '2', 'own', 'phx_reply', ok()]]],
    [
      'a push before its join',
      [['3', '4', 'other', 'say', {}]],
      [[null, '4', 'other', 'phx_reply', refused('unmatched topic')]],
    ],
    [
      'leave twice',
      [
        ['1', '2', 'own', 'phx_leave', {}],
        ['1', '3', 'own', 'phx_leave', {}],
      ],
      [
        ['1', '2', 'own', 'phx_reply', ok()],
        ['1', '1', 'own', 'phx_close', {}],
        ['1', '3', 'own', 'phx_reply', ok()],
      ],
    ],
    [
      '101 joins',
      Array.from({ length: 101 }, (_, index) => ['5', '5', `t${index}`, 'phx_join', {}]),
      Array.from({ length: 101 }, (_, index) => [
        ...['5', '5', `t${index}`, 'phx_reply'],
        index < 99 ? ok() : refused('too many channels joined'), // `own` is one of the hundred
      ]),
    ],
    [
      'a heartbeat on another topic',
      [[null, '3', 'elsewhere', 'heartbeat', {}]],
      [[null, '3', 'elsewhere', 'phx_reply', refused('unmatched topic')]],
    ],
  ] as [string, unknown[][], unknown[]][]) {
    test(`a peer that sends ${what} is answered so, and stays`, async () => {
      await using hall = await Hall.set()
      const peer = await hall.enter('own')
      say(peer, ...frames, [null, 'last', 'phoenix', 'heartbeat', {}])
      for (const answer of [...answers, [null, 'last', 'phoenix', 'phx_reply', ok()]]) {
        assert.deepEqual(await heard(peer), answer)
      }
      await reset(hall, peer)
      await hall.calm()
    })
  }

  for (const what of unsayable.keys()) {
    test(`an answer of ${what} ends that membership, and no other`, async () => {
      await using hall = await Hall.set()
      const peer = await hall.enter('own')
      say(peer, ['7', '7', 'second', 'phx_join', {}])
      assert.deepEqual(await heard(peer), ['7', '7', 'second', 'phx_reply', ok()])
      say(peer, ['1', '2', 'own', 'ask', what])
      assert.deepEqual(await heard(peer), ['1', '1', 'own', 'phx_error', { reason: CRASH }])
      say(peer, ['7', '8', 'second', 'say', {}])
      assert.deepEqual(await heard(peer), ['7', '8', 'second', 'phx_reply', ok()])
      await reset(hall, peer)
      await hall.calm()
    })
  }

  for (const [what, target, status] of [
    ['vsn twice, the last one known', '/socket/websocket?vsn=1&vsn=2.0.0', 101],
    ['vsn twice, the last one unknown', '/socket/websocket?vsn=2.0.0&vsn=1', 403],
    ['vsn as a list', '/socket/websocket?vsn[]=2.0.0', 403],
    ['an empty vsn', '/socket/websocket?vsn=', 403],
    ['a vsn of 8 KB', `/socket/websocket?vsn=${'2.'.repeat(4_000)}`, 403],
    ['a malformed vsn', '/socket/websocket?vsn=%zz', 403],
    ['token twice', '/socket/websocket?vsn=2.0.0&token=a&token=b', 101],
  ] as const) {
    test(`a handshake with ${what} gets ${status}`, async () => {
      await using hall = await Hall.set()
      const peer = await RawPeer.knock(hall.port, { target })
      assert.equal((await peer.answer()).status, status)
      await reset(hall, peer)
      await hall.calm()
    })
  }

  test('a peer that goes in the middle of a join, a message or a leave does no harm', async () => {
    await using hall = await Hall.set()
    const steps = [
      ['1', '1', 'own', 'phx_join', {}],
      ['1', '2', 'own', 'say', {}],
      ['1', '3', 'own', 'phx_leave', {}],
      ['1', '4', 'own', 'phx_join', {}],
    ]
    for (let round = 0; round < 40; round++) {
      const peer = await RawPeer.enter(hall.port, { target: TARGET })
      say(peer, ...steps.slice(0, 1 + (round % steps.length)))
      peer.send(TEXT, '["1","5","own"', { fin: false })
      if (round % 2 === 0) await turn()
      await reset(hall, peer)
    }
    await hall.calm()
  })

  test('a client of the core that knows no channels is told of its first word', async () => {
    await using hall = await Hall.set()
    const client = await new WebsocketClient().open(`ws://localhost:${hall.port}${TARGET}`)
    client.send('hello')
    assert.equal((await once(client, 'close')).code, 1007)
    await hall.calm()
  })
})
