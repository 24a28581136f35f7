import assert from 'node:assert/strict'
import { fork, type ChildProcess } from 'node:child_process'
import { once as onceOf } from 'node:events'
import { readFileSync } from 'node:fs'
import { suite, test, type TestContext } from 'node:test'
import { Socket as Phoenix18 } from 'phoenix'
import { Socket as Phoenix17 } from 'phoenix-1.7'
import { listen, memoryBackplane, once, WebsocketServer } from 'simplewebsockets'
import {
  ChannelServer,
  type HistoryOptions,
  type HistoryPosition,
  type AnyEvents,
} from 'simplewebsockets/channels'
import WebSocket from 'ws'
import { Raw } from '../support/channels/raw.ts'
import { RunningEngine, without } from '../support/engines.ts'
import { sparePort } from '../support/ports.ts'
import { openAdmin, openHistory, redisWays, type RedisWay } from './redis-histories.ts'

type Five = [string | null, string | null, string, string, AnyEvents]

/** Starts a server in a process of its own, which says something first. */
async function start(
  t: TestContext,
  way: RedisWay,
  url: string,
  port: number,
  ...first: string[]
): Promise<ChildProcess> {
  const child = fork(
    new URL('./replaynode.ts', import.meta.url),
    [way, url, String(port), ...first],
    {
      execArgv: ['--conditions=source', '--import', 'tsx'],
    },
  )
  t.after(() => child.kill('SIGKILL'))
  const said = async (): Promise<unknown> => ((await onceOf(child, 'message')) as [unknown])[0]
  while ((await said()) !== 'ready');
  return child
}

async function says(child: ChildProcess, body: string): Promise<void> {
  const said = onceOf(child, 'message')
  child.send(body)
  await said
}

async function killed(child: ChildProcess): Promise<void> {
  const ended = onceOf(child, 'exit')
  child.kill('SIGKILL')
  await ended
}

/** Shortens the epoch, which is random. */
function shortened(lines: readonly string[]): string[] {
  return lines.map((line) => line.replace(/(?<="\$?epoch":")\w+(?=")/g, 'e'))
}

/** The code that the documentation advises for phoenix.js: it is for pages, and has no types. */
const advised = new URL('../../samples/replay/with-phoenix.js', import.meta.url)
const { enter } = (await import(advised.href)) as {
  enter: (
    socket: PhoenixSocket,
    hear: (payload: { body: string }) => void,
    reload: () => void,
  ) => PhoenixPush
}

/** An unmodified phoenix.js that prints its frames, and is told by its payload's function what it saw. */
class Visitor {
  readonly lines: string[] = []
  readonly bodies: string[] = []
  readonly answers: Record<string, unknown>[] = []
  readonly #wakes = new Set<() => void>()
  readonly #sockets: WebSocket[] = []

  constructor(t: TestContext, Socket: PhoenixSocketMaker, port: number) {
    const { lines } = this
    const wake = (): void => this.#wakes.forEach((each) => each())
    const sockets = this.#sockets
    class PrintingSocket extends WebSocket {
      constructor(url: string) {
        super(url)
        sockets.push(this)
        this.on('message', (data: Buffer | ArrayBuffer) => {
          lines.push(`< ${Buffer.from(data as ArrayBuffer).toString()}`)
        })
      }
      override send(data: string): void {
        lines.push(`> ${data}`)
        super.send(data)
      }
    }
    const socket = new Socket(`ws://127.0.0.1:${port}/socket`, {
      transport: PrintingSocket,
      reconnectAfterMs: () => 1_000,
    })
    t.after(() => socket.disconnect())
    const hear = ({ body }: { body: string }): void => {
      this.bodies.push(body)
      wake()
    }
    const reload = (): void => assert.fail('all that was missed follows')
    enter(socket, hear, reload).receive('ok', (answer) => {
      this.answers.push(answer as Record<string, unknown>)
      wake()
    })
    socket.connect()
  }

  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) await new Promise<void>((resolve) => this.#wakes.add(resolve))
  }

  heard(body: string): Promise<void> {
    return this.until(() => this.bodies.includes(body))
  }

  /** Cuts the connection off, as a failing network does. */
  cut(): void {
    this.#sockets.at(-1)?.terminate()
  }
}

const stage = { skip: without('redis'), timeout: 60_000 }

for (const way of redisWays) {
  for (const [version, Socket] of [
    ['1.8.16', Phoenix18],
    ['1.7.23', Phoenix17],
  ] as const) {
    test(
      `${way}: phoenix.js ${version} gets what it missed from the server after the one that was killed`,
      stage,
      async (t) => {
        const redis = await RunningEngine.start(t, 'redis')
        const port = await sparePort()
        const server = await start(t, way, redis.url, port)
        const ann = new Visitor(t, Socket, port)
        await ann.until(() => ann.answers.length === 1)
        await says(server, 'one')
        await ann.heard('one')
        ann.cut()
        await says(server, 'two')
        await says(server, 'three')
        await killed(server)
        const next = await start(t, way, redis.url, port, 'four')
        await ann.heard('four')
        await says(next, 'five')
        await ann.heard('five')
        assert.deepEqual(ann.bodies, ['one', 'two', 'three', 'four', 'five'])
        assert.equal(ann.answers[1]?.recovered, true)
        const docs = readFileSync(new URL('../../docs/how-to/history.md', import.meta.url), 'utf8')
        const [, shown = ''] = /^```text\n(> .*?)^```$/ms.exec(docs) ?? []
        if (version === '1.8.16')
          assert.deepEqual(shortened(ann.lines), shown.trimEnd().split('\n'))
      },
    )
  }
}

interface Node {
  readonly server: WebsocketServer
  readonly say: (...bodies: unknown[]) => Promise<void>
  /** Joins, and gives what came at once. */
  readonly join: (since?: HistoryPosition) => Promise<Joined>
}

interface Joined {
  readonly raw: Raw
  readonly response: { recovered?: boolean; reason?: string; $history: HistoryPosition }
  readonly bodies: readonly unknown[]
}

const bodiesOf = (frames: Five[]): unknown[] =>
  frames.map(([, , , , { body, reason }]) => (body ?? reason) as unknown)

/** A server in this process, over a history of its own. */
async function node(
  t: TestContext,
  way: RedisWay,
  url: string,
  options: HistoryOptions = {},
): Promise<Node> {
  const store = openHistory(way, url)
  t.after(() => store.close())
  const bounds = { size: 1, ttl: 1, maxBytes: 1 }
  const isConnected = (): Promise<boolean> =>
    store.read('room:1', undefined, bounds).then(
      () => true,
      () => false,
    )
  while (!(await isConnected())) await new Promise((resolve) => setTimeout(resolve, 10))
  const server = new WebsocketServer({ path: '/socket', backplane: memoryBackplane() })
  listen(server, 'error', () => {})
  const channels = new ChannelServer(server)
  channels.topic('room:*', { open: true, history: { store, ...options } })
  t.after(() => server.close())
  const say = async (...bodies: unknown[]): Promise<void> => {
    for (const body of bodies) await channels.emit('room:1', 'said', { body })
  }
  const join = async ($since?: HistoryPosition): Promise<Joined> => {
    const raw = await Raw.enter(server)
    t.after(() => raw.here.close())
    raw.say(['1', '1', 'room:1', 'phx_join', { $since }])
    await once(raw.here, 'message')
    const [answer, ...rest] = (await raw.heard()) as Five[]
    return { raw, response: answer?.[4].response as Joined['response'], bodies: bodiesOf(rest) }
  }
  return { server, say, join }
}

/** Hears a member until so many messages have come. */
async function hear({ raw }: Joined, count: number): Promise<unknown[]> {
  const frames: Five[] = []
  while (frames.length < count) {
    await new Promise(setImmediate)
    frames.push(...((await raw.heard()) as Five[]))
  }
  return bodiesOf(frames)
}

for (const way of redisWays) {
  suite(`${way}: a history in Redis`, stage, () => {
    test('is one for all nodes, in one order', async (t) => {
      const { url } = await RunningEngine.start(t, 'redis')
      const one = await node(t, way, url)
      const other = await node(t, way, url)
      await one.say('before')
      const [ann, bob] = [await one.join(), await other.join()]
      assert.deepEqual(ann.response, bob.response)
      assert.equal(ann.response.$history.offset, 1, 'what was said before is seen')
      await Promise.all([one.say('a', 'b', 'c'), other.say('d', 'e', 'f')])
      const heard = await hear(ann, 6)
      assert.deepEqual(await hear(bob, 6), heard)
      for (const { join } of [one, other, await node(t, way, url)]) {
        const again = await join(ann.response.$history)
        assert.deepEqual([again.response.recovered, again.bodies], [true, heard])
      }
    })

    test('that is frozen delivers nothing, and goes on when it is thawed', async (t) => {
      const redis = await RunningEngine.start(t, 'redis')
      const { server, say, join } = await node(t, way, redis.url, { timeout: 200 })
      const ann = await join()
      await say('one')
      await hear(ann, 1)
      redis.freeze()
      const failed = once(server, 'error')
      await assert.rejects(say('two'), { name: 'HistoryError', message: 'the history failed' })
      await failed
      assert.equal(server.stats().drops.history, 1)
      redis.thaw()
      assert.deepEqual(await hear(ann, 1), ['two'], 'Redis had it, so it was late')
      const again = await join(ann.response.$history)
      assert.deepEqual([again.response.recovered, again.bodies], [true, ['one', 'two']])
    })

    test('that forgets all ends memberships, and vouches for nothing', async (t) => {
      const redis = await RunningEngine.start(t, 'redis')
      const { say, join } = await node(t, way, redis.url)
      const ann = await join()
      await say('one')
      assert.deepEqual(await hear(ann, 1), ['one'])
      const admin = await openAdmin(t, redis.url)
      await admin.flushAll()
      await say('two')
      assert.deepEqual(await hear(ann, 1), ['history lost'])
      const again = await join({ ...ann.response.$history, offset: 1 })
      assert.deepEqual([again.response.recovered, again.bodies], [false, []])
      assert.equal(again.response.$history.offset, 1)
    })
  })
}
