import assert from 'node:assert/strict'
import { test } from 'node:test'
import { listen, once, WebsocketServer, type ServerOptions } from 'simplewebsockets'
import { ChannelClient, ChannelServer, type Channel, type Message } from 'simplewebsockets/channels'
import { link } from 'simplewebsockets/testing'
import { Backlog } from '../../lib/channels/backlog.ts'
import { turn } from '../scene.ts'
import { Raw, reply } from './raw.ts'

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

test('a backlog is full from its bound on until half of it is gone', () => {
  const changes: boolean[] = []
  const backlog: Backlog = new Backlog(
    { changed: () => changes.push(backlog.isFull(false)), endSlowest: () => {} },
    1_000_000,
  )
  backlog.add(999, 999)
  backlog.add(1, 1)
  backlog.add(-400, -400)
  backlog.add(-100, -100)
  assert.deepEqual(changes, [true, false])
  backlog.add(1, 2_000_000)
  assert.equal(backlog.isFull(true), true)
  backlog.stop()
})
