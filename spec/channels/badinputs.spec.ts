import assert from 'node:assert/strict'
import { after, suite, test } from 'node:test'
import { listen, WebsocketServer } from 'simplewebsockets'
import { ChannelServer } from 'simplewebsockets/channels'
import { inUse } from '../support/heap.ts'
import { binary, closing, named } from '../support/channels/badframes.ts'
import { PHOENIX, PHOENIX_1, Raw, reply } from '../support/channels/raw.ts'

/**
 * One server for all of it: the peer that misbehaves is a member of `own`, and two neighbours are
 * members of `room`, who must hear of everything that is said there, before and after.
 */
const server = new WebsocketServer()
const channels = new ChannelServer(server, { joinRate: false }) // which join-queue.spec.ts has
let members = 0
listen(channels.topic('*'), 'join', ({ channel, payload, accept, reject }) => {
  if (payload === 'no') {
    reject()
    return
  }
  members += 1
  listen(channel.messages, 'echo', (message) => message.reply(message.payload))
  listen(channel.messages, 'unsayable', ({ reply: answer }) => answer(5n))
  listen(channel, 'message', ({ event, reply: answer }) => {
    if (event !== 'echo' && event !== 'unsayable') answer(event)
  })
  accept()
})
listen(channels.topic('never'), 'join', () => {})
listen(channels, 'error', () => {})
listen(server, 'error', () => {})

const neighbours = Promise.all(
  [PHOENIX, PHOENIX].map(async (url) => (await Raw.enter(server, url)).join('room')),
)

/** Says something to the neighbours: they go on. */
async function undisturbed(): Promise<void> {
  channels.emit('room', 'still', {})
  for (const neighbour of await neighbours) {
    assert.deepEqual(await neighbour.ask(['1', '9', 'room', 'echo', {}]), [
      [null, null, 'room', 'still', {}],
      reply(['1', '9'], 'room', 'ok'),
    ])
  }
  assert.equal(server.clients.size, 2)
}

after(() => server.close())

const answered: [what: string, frames: unknown[], answers: unknown[]][] = [
  ['an array of 6', ['["1","2","own","echo",5,6]'], [reply(['1', '2'], 'own', 'ok', 5)]],
  ...['__proto__', 'constructor', 'hasOwnProperty'].map((name): [string, unknown[], unknown[]] => [
    `an event and a topic named ${name}`,
    [
      ['1', '2', 'own', name, {}],
      ['3', '3', name, 'phx_join', {}],
      ['3', '4', name, 'echo', {}],
      ['3', '5', name, 'phx_leave', {}],
    ],
    [
      reply(['1', '2'], 'own', 'ok', name),
      reply(['3', '3'], name, 'ok'),
      reply(['3', '4'], name, 'ok'),
      reply(['3', '5'], name, 'ok'),
      ['3', '3', name, 'phx_close', {}],
    ],
  ]),
  [
    'events named error and close',
    [named('own', 'error'), named('own', 'close')],
    [reply(['1', '2'], 'own', 'ok', 'error'), reply(['1', '2'], 'own', 'ok', 'close')],
  ],
  ['a ref of null', [[null, null, 'own', 'echo', {}]], []],
  ['an empty ref', [['1', '', 'own', 'echo', {}]], [reply(['1', ''], 'own', 'ok')]],
  [
    'a ref used twice',
    [named('own'), named('own')],
    [reply(['1', '2'], 'own', 'ok'), reply(['1', '2'], 'own', 'ok')],
  ],
  ['a stale join_ref', [['0', '2', 'own', 'echo', {}]], []],
  ['a null join_ref', [[null, '2', 'own', 'echo', {}]], [reply(['1', '2'], 'own', 'ok')]],
  [
    'a push before its join',
    [named('other'), ['3', '3', 'other', 'phx_join', 'no']],
    [
      reply([null, '2'], 'other', 'error', { reason: 'unmatched topic' }),
      reply(['3', '3'], 'other', 'error'),
    ],
  ],
  [
    'leaving twice, and joining in between and after',
    [
      ['1', '2', 'own', 'phx_leave', {}],
      ['1', '3', 'own', 'phx_leave', {}],
      ['4', '4', 'own', 'phx_join', {}],
    ],
    [
      reply(['1', '2'], 'own', 'ok'),
      ['1', '1', 'own', 'phx_close', {}],
      reply(['1', '3'], 'own', 'ok'),
      reply(['4', '4'], 'own', 'ok'),
    ],
  ],
  [
    'bytes of zero lengths',
    [binary(0, 0, 0, 0, 0)],
    [reply([null, ''], '', 'error', { reason: 'unmatched topic' })],
  ],
  ['bytes with an empty join_ref, which is stale', [binary(0, 0, 1, 3, 4, '2ownecho')], []],
  [
    'a heartbeat on another topic, which is an event of it',
    [named('own', 'heartbeat'), [null, '3', 'elsewhere', 'heartbeat', {}]],
    [
      reply(['1', '2'], 'own', 'ok', 'heartbeat'),
      reply([null, '3'], 'elsewhere', 'error', { reason: 'unmatched topic' }),
    ],
  ],
  [
    'a message whose answer cannot be said',
    [named('own', 'unsayable'), named('own')],
    [
      ['1', '1', 'own', 'phx_error', { reason: 'channel_crash' }],
      reply([null, '2'], 'own', 'error', { reason: 'unmatched topic' }),
    ],
  ],
]

suite('bad input of the channel protocol', () => {
  for (const [what, frame, code] of closing) {
    test(`${what} closes with ${code}, and no other peer is disturbed`, async () => {
      const peer = await (await Raw.enter(server)).join('own')
      const closed = peer.closed()
      peer.say(frame, ['1', '2', 'own', 'echo', 'too late'])
      const reason = await closed
      assert.equal(reason.code, code)
      assert.notEqual(reason.description, '')
      await undisturbed()
    })
  }

  for (const [what, frames, answers] of answered) {
    test(`${what}: the connection, its other channels and its neighbours go on`, async () => {
      const peer = await (await (await Raw.enter(server)).join('own')).join('second', '8')
      assert.deepEqual(await peer.ask(...frames), answers)
      channels.emit('second', 'evt', {})
      assert.deepEqual(await peer.ask(['8', '9', 'second', 'echo', 1]), [
        [null, null, 'second', 'evt', {}],
        reply(['8', '9'], 'second', 'ok', 1),
      ])
      await peer.here.close()
      await undisturbed()
    })
  }

  test('binary frames and bare arrays close a peer that speaks version 1', async () => {
    for (const frame of [binary(0, 1, 1, 3, 4, '12ownecho'), '["1","2","own","echo",{}]']) {
      const peer = await Raw.enter(server, PHOENIX_1)
      const closed = peer.closed()
      peer.say(frame)
      assert.equal((await closed).code, 1008)
    }
    await undisturbed()
  })

  test('the 101st join is refused, however often it is tried', async () => {
    const peer = await Raw.enter(server)
    for (let index = 0; index < 100; index++)
      peer.say([`${index}`, `${index}`, `t${index}`, 'phx_join', {}])
    assert.equal((await peer.heard()).length, 100)
    for (let index = 0; index < 10; index++) {
      assert.deepEqual(await peer.ask(['x', 'x', `u${index}`, 'phx_join', {}]), [
        reply(['x', 'x'], `u${index}`, 'error', { reason: 'too many channels joined' }),
      ])
    }
    await peer.here.close()
    await undisturbed()
  })

  test('10^5 topics joined and left, and 10^5 pushes to none, leave nothing behind', async () => {
    const peer = await Raw.enter(server)
    let left = 0
    const before = members
    const grown = async (rounds: number): Promise<number> => {
      for (let index = 0; index < rounds; index++) {
        const topic = `t${left++}`
        peer.say(['1', null, topic, 'phx_join', {}], ['1', null, topic, 'phx_leave', {}])
        peer.say(['1', null, `none${left}`, `e${left}`, {}])
        if (index % 100 === 0) await peer.heard() // a join waits while its peer has much to read
      }
      await peer.heard()
      return inUse()
    }
    await grown(10_000)
    const start = await grown(1_000)
    const end = await grown(90_000)
    assert.equal(members - before, left)
    assert.ok(end - start < 2 * 1024 * 1024, `grew by ${end - start} bytes`)
    await peer.here.close()
    await undisturbed()
  })
})
