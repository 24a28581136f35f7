import assert from 'node:assert/strict'
import { test } from 'node:test'
import { listen, once, WebsocketServer, type ServerOptions } from 'simplewebsockets'
import { ChannelClient, ChannelServer, type Channel, type Message } from 'simplewebsockets/channels'
import { link } from 'simplewebsockets/testing'
import { Backlog } from '../../../lib/channels/messages/backlog.ts'
import { inUse } from '../../support/heap.ts'
import { MIB, turn } from '../../support/scene.ts'
import { Raw, reply } from '../../support/channels/raw.ts'

const STANDSTILL = 5_000

/** A server whose topic `slow:*` never takes a second message, and whose topic `fast:*` takes all. */
function serve(options: ServerOptions = {}): {
  server: WebsocketServer
  channels: ChannelServer
  ended: string[]
} {
  const server = new WebsocketServer({ keepaliveTimeout: false, ...options })
  const channels = new ChannelServer(server)
  const ended: string[] = []
  const slow = channels.topic('slow:*')
  const fast = channels.topic('fast:*')
  listen(slow, 'join', ({ accept, channel }) => {
    listen(channel.messages, 'evt', () => new Promise(() => {}))
    accept()
  })
  listen(fast, 'join', ({ accept, channel }) => {
    listen(channel.messages, 'evt', ({ reply: answer }) => answer())
    accept()
  })
  for (const topic of [slow, fast]) {
    listen(topic, 'leave', ({ channel, reason }) => void ended.push(`${channel.topic} ${reason}`))
  }
  return { server, channels, ended }
}

const push = (topic: string, ref: number, text = ''): unknown[] => {
  return ['1', `${ref}`, topic, 'evt', { text }]
}

/** Lets all that can happen without a timer happen. */
async function turns(): Promise<void> {
  for (let count = 0; count < 10; count++) await turn()
}

/** Returns what tells whether the server has answered a heartbeat. */
function answerOf(client: Raw): () => boolean {
  let isAnswered = false
  listen(client.here, 'message', (data) => {
    if (String(data).includes('"phoenix","phx_reply"')) isAnswered = true
  })
  return () => isAnswered
}

test('a slow listener delays neither another channel nor the heartbeat', async () => {
  const { server } = serve()
  const client = await (await (await Raw.enter(server)).join('slow:1')).join('fast:1')
  for (let ref = 10; ref < 900; ref++) client.say(push('slow:1', ref))
  assert.deepEqual(await client.ask(push('fast:1', 2), [null, '3', 'phoenix', 'heartbeat', {}]), [
    reply(['1', '2'], 'fast:1', 'ok'),
    reply([null, '3'], 'phoenix', 'ok'),
  ])
})

test('at 1,000 waiting messages reading pauses, and after 5 s the slowest membership ends', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { server, ended } = serve()
  const client = await (await (await Raw.enter(server)).join('slow:1')).join('fast:1')
  const answers = once(client.here, 'message', { where: (data) => String(data).includes('"2"') })
  for (let ref = 10; ref < 1_500; ref++) {
    client.say(push('slow:1', ref, 'x'.repeat(100)))
    if (ref % 100 === 0) await turn()
  }
  client.say(push('fast:1', 2))
  for (let count = 0; count < 5; count++) await turn()
  assert.ok(client.here.bufferedAmount > 0, 'an honest uploader feels it')
  t.mock.timers.tick(STANDSTILL - 1)
  await turn()
  assert.deepEqual(ended, [])
  t.mock.timers.tick(1)
  assert.match(String(await answers), /"fast:1","phx_reply",{"status":"ok"/)
  assert.deepEqual(ended, ['slow:1 tooSlow'])
  const heard = await client.heard()
  const error = ['1', '1', 'slow:1', 'phx_error', { reason: 'too slow' }]
  assert.ok(heard.some((frame) => JSON.stringify(frame) === JSON.stringify(error)))
  assert.equal(client.there.isOpen, true)
})

test('a listener that goes on keeps its membership, and gets every message', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { server, channels, ended } = serve()
  const taken: Message[] = []
  let goOn = (): void => {}
  listen(channels.topic('steady'), 'join', ({ accept, channel }) => {
    listen(channel, 'message', (message) => {
      taken.push(message)
      return new Promise<void>((resolve) => {
        goOn = resolve
      })
    })
    accept()
  })
  const client = await (await Raw.enter(server)).join('steady')
  for (let ref = 10; ref < 2_510; ref++) client.say(push('steady', ref))
  for (let count = 0; count < 2_500; count++) {
    if (count % 100 === 0) t.mock.timers.tick(STANDSTILL - 1)
    await turn()
    goOn()
  }
  await turn()
  assert.equal(taken.length, 2_500)
  assert.deepEqual(ended, [])
})

test('what waits is bounded by `maxWaitingBytes`, too', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { server, ended } = serve({ maxWaitingBytes: 10_000 })
  const client = await (await Raw.enter(server)).join('slow:1')
  for (let ref = 10; ref < 210; ref++) {
    client.say(push('slow:1', ref, 'x'.repeat(1_000)))
    if (ref % 20 === 0) await turn()
  }
  for (let count = 0; count < 5; count++) await turn()
  assert.ok(client.here.bufferedAmount > 0)
  t.mock.timers.tick(STANDSTILL)
  assert.deepEqual(ended, ['slow:1 tooSlow'])
})

test('the channel of a client whose listener stands still hears an error, and joins again', async (t) => {
  const { server, channels } = serve()
  const client = new ChannelClient({ rejoin: { delay: () => 0 } })
  await link(server, client, 'ws://localhost/socket')
  listen(channels.topic('news:*'), 'join', ({ accept }) => void accept())
  const channel = client.channel('news:1')
  const other = client.channel('fast:1')
  await Promise.all([channel.join(), other.join()])
  t.mock.timers.enable({ apis: ['setTimeout'] })
  listen(channel.messages, 'said', () => new Promise(() => {}))
  const failed = once(channel, 'error')
  for (let count = 0; count < 1_200; count++) channels.emit('news:1', 'said', { count })
  for (let count = 0; count < 5; count++) await turn()
  t.mock.timers.tick(STANDSTILL)
  assert.match((await failed).message, /the listeners of `news:1` are too slow/)
  const rejoined = once(channel, 'join')
  t.mock.timers.tick(1)
  t.mock.timers.reset()
  await rejoined
  assert.deepEqual(await other.push('evt', {}), {})
  await client.close()
})

test('a reply that is awaited in a listener comes behind 1,000 messages that wait', async () => {
  const { server, channels } = serve()
  const client = new ChannelClient()
  await link(server, client, 'ws://localhost/socket')
  listen(channels.topic('news:*'), 'join', ({ accept }) => void accept())
  const [channel, other]: Channel[] = [client.channel('news:1'), client.channel('fast:1')]
  assert.ok(channel && other)
  await Promise.all([channel.join(), other.join()])
  const answered = new Promise<unknown>((resolve) => {
    listen(channel.messages, 'said', async () => resolve(await other.push('evt', {})))
  })
  for (let count = 0; count < 1_500; count++) channels.emit('news:1', 'said', {})
  assert.deepEqual(await answered, {})
  await client.close()
})

test('while something is awaited and 1,000 messages wait, reading pauses at `maxWaitingBytes`', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { server, channels } = serve({ maxWaitingBytes: MIB })
  listen(channels.topic('asking'), 'join', ({ accept, channel }) => {
    listen(channel.messages, 'evt', () => new Promise(() => {}))
    void once(channel.messages, 'never')
    accept()
  })
  const client = await (await Raw.enter(server)).join('asking')
  for (let ref = 10; ref < 1_100; ref++) client.say(push('asking', ref))
  await turns()
  assert.equal(client.here.bufferedAmount, 0, 'it goes on, past 1,000 messages')
  for (let ref = 0; ref < 300; ref++) client.say(push('asking', ref, 'x'.repeat(10_000)))
  await turns()
  assert.ok(
    client.here.bufferedAmount > MIB,
    `${client.here.bufferedAmount} bytes wait at the peer`,
  )
})

test('a slow listener that goes on keeps the others waiting for 5 s, and then its membership ends', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { server, channels, ended } = serve()
  const steady = channels.topic('steady')
  listen(steady, 'leave', ({ reason }) => void ended.push(`steady ${reason}`))
  listen(steady, 'join', ({ accept, channel }) => {
    listen(channel, 'message', () => new Promise((resolve) => setTimeout(resolve, 100)))
    accept()
  })
  const client = await (await Raw.enter(server)).join('steady')
  const answered = answerOf(client)
  for (let ref = 10; ref < 3_000; ref++) client.say(push('steady', ref))
  client.say([null, '3', 'phoenix', 'heartbeat', {}])
  await turns()
  for (let time = 0; time < STANDSTILL; time += 100) {
    assert.deepEqual([ended, answered()], [[], false])
    t.mock.timers.tick(100)
    await turn()
  }
  await turns()
  assert.deepEqual([ended, answered()], [['steady tooSlow'], true])
})

for (const closeTimeout of [1_000, 10_000]) {
  test(`what waits in a membership that was left is dropped after ${closeTimeout} ms, and none ends for it`, async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const { server, ended } = serve({ closeTimeout })
    const client = await (await (await Raw.enter(server)).join('slow:1')).join('slow:2')
    const answered = answerOf(client)
    for (let ref = 10; ref < 1_005; ref++) client.say(push('slow:1', ref))
    client.say(['1', '2', 'slow:1', 'phx_leave', {}])
    for (let ref = 10; ref < 100; ref++) client.say(push('slow:2', ref))
    client.say([null, '3', 'phoenix', 'heartbeat', {}])
    await turns()
    assert.deepEqual(ended.splice(0), ['slow:1 left'])
    t.mock.timers.tick(closeTimeout - 1)
    await turns()
    assert.deepEqual([ended, answered(), server.stats().drops.channels], [[], false, 0])
    t.mock.timers.tick(1)
    await turns()
    assert.deepEqual([ended, answered(), server.stats().drops.channels], [[], true, 994])
  })
}

test('the payloads of joins under way count until they are answered', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const server = new WebsocketServer({ keepaliveTimeout: false, maxWaitingBytes: MIB })
  const rooms = new ChannelServer(server, { joinTimeout: 1_000 }).topic('room:*')
  listen(rooms, 'join', () => new Promise(() => {}))
  const client = await Raw.enter(server)
  const answered = answerOf(client)
  for (let ref = 0; ref < 30; ref++) {
    client.say([`${ref}`, `${ref}`, `room:${ref}`, 'phx_join', { text: 'x'.repeat(100_000) }])
  }
  client.say([null, '3', 'phoenix', 'heartbeat', {}])
  await turns()
  assert.ok(client.here.bufferedAmount > 1.5 * MIB, `${client.here.bufferedAmount} bytes`)
  assert.equal(answered(), false)
  for (let count = 0; count < 3; count++) {
    t.mock.timers.tick(1_000)
    await turns()
  }
  assert.equal(answered(), true)
})

test('a long text of small values counts with what they take in memory', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { server } = serve({ maxWaitingBytes: 8 * MIB })
  const client = await (await Raw.enter(server)).join('slow:1')
  const list = `[${Array.from({ length: 5_000 }, () => '{}').join(',')}]`
  const text = `["1",null,"slow:1","evt",${list}]`
  const before = inUse()
  for (let ref = 0; ref < 200; ref++) client.say(text)
  await turns()
  assert.ok(client.here.bufferedAmount > 0)
  const kept = inUse() - before - client.here.bufferedAmount
  assert.ok(kept < 16 * MIB, `${kept / MIB} MiB, where 8 may wait`)
})

test('a backlog is full from its bound on until a sixteenth of it is gone', () => {
  const changes: boolean[] = []
  const backlog: Backlog = new Backlog(
    { onChange: () => changes.push(backlog.isFull(false)), endSlowest: () => {} },
    1_000_000,
  )
  backlog.add(999, 999)
  backlog.add(1, 1)
  backlog.add(-62, -62)
  assert.deepEqual(changes, [true])
  backlog.add(-1, -1)
  assert.deepEqual(changes, [true, false])
  backlog.add(1, 2_000_000)
  assert.equal(backlog.isFull(true), true)
  backlog.stop()
})
