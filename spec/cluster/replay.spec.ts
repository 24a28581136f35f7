import assert from 'node:assert/strict'
import { fork, type ChildProcess } from 'node:child_process'
import { once as onceOf } from 'node:events'
import { readFileSync } from 'node:fs'
import { suite, test, type TestContext } from 'node:test'
import { Redis } from 'ioredis'
import { Socket as Phoenix18 } from 'phoenix'
import { Socket as Phoenix17 } from 'phoenix-1.7'
import { createClient } from 'redis'
import { listen, once, WebsocketServer, type Backplane } from 'simplewebsockets'
import { ChannelServer, type HistoryOptions, type Loose } from 'simplewebsockets/channels'
import { redisHistory } from 'simplewebsockets/redis'
import WebSocket from 'ws'
import { Raw } from '../channels/raw.ts'
import { is, open, RunningEngine, without } from '../engines.ts'
import { sparePort } from '../ports.ts'

type Client = 'node-redis' | 'ioredis'
type Five = [string | null, string | null, string, string, Loose]

const clients: readonly Client[] = ['node-redis', 'ioredis']

/** Starts a server in a process of its own, which says something first. */
async function start(
  t: TestContext,
  way: Client,
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

/** Gives the names of servers, which are random, those of the alphabet. */
function named(lines: readonly string[]): string[] {
  const names = new Map<string, string>()
  const short = (name: string): string => {
    const known = names.get(name) ?? String.fromCharCode(97 + names.size)
    names.set(name, known)
    return known
  }
  return lines.map((line) => line.replace(/(?<=")[\w-]{12}(?=[":])/g, short))
}

/** What the documentation advises to whoever has phoenix.js: it is for pages, and has no types. */
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

  /** Is cut off as by a failing network. */
  cut(): void {
    this.#sockets.at(-1)?.terminate()
  }
}

const stage = { skip: without('redis'), timeout: 60_000 }

for (const way of clients) {
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
        const docs = readFileSync(new URL('../../docs/replay.md', import.meta.url), 'utf8')
        const [, shown = ''] = /^```text\n(> .*?)^```$/ms.exec(docs) ?? []
        if (version === '1.8.16') assert.deepEqual(named(ann.lines), shown.trimEnd().split('\n'))
      },
    )
  }
}

interface Node {
  readonly channels: ChannelServer
  readonly server: WebsocketServer
  /** Resolves once Redis has all that was said. */
  readonly flushed: () => Promise<unknown>
  /** Joins, and gives what came at once. */
  readonly join: (seen?: unknown) => Promise<Five[]>
}

/** A server in this process, over a client of its own. */
async function node(
  t: TestContext,
  way: Client,
  url: string,
  { backplane, ...history }: HistoryOptions & { backplane?: Backplane } = {},
): Promise<Node> {
  const failing = (): void => {} // of the client itself: what it is asked rejects
  const client =
    way === 'ioredis'
      ? new Redis(url, { maxRetriesPerRequest: 0 }).on('error', failing)
      : await createClient({ url }).on('error', failing).connect()
  t.after(() => (client instanceof Redis ? client.disconnect() : client.destroy()))
  const server = new WebsocketServer({ path: '/socket', backplane })
  const channels = new ChannelServer(server)
  channels.topic('room:*', { open: true, history: { store: redisHistory(client), ...history } })
  t.after(() => server.close())
  const join = async (seen?: unknown): Promise<Five[]> => {
    const raw = await Raw.enter(server)
    raw.say(['1', '1', 'room:1', 'phx_join', { $seen: seen }])
    await once(raw.here, 'message')
    const heard = (await raw.heard()) as Five[]
    t.after(() => raw.here.close())
    return heard
  }
  const flushed = (): Promise<unknown> => (client instanceof Redis ? client.ping() : client.ping())
  return { channels, server, flushed, join }
}

const answerOf = ([frame]: Five[]): { recovered?: boolean; $seen: Record<string, number> } =>
  frame?.[4].response as { recovered?: boolean; $seen: Record<string, number> }
const bodiesOf = (frames: Five[]): unknown[] =>
  frames.slice(1).map(([, , , , { body }]) => body as unknown)

for (const way of clients) {
  suite(`${way}: a history in Redis`, stage, () => {
    test('is one for all nodes, and nobody is given what was said before they came', async (t) => {
      const redis = await RunningEngine.start(t, 'redis')
      const ways = [open(way, redis.url), open(way, redis.url)]
      t.after(() => Promise.all(ways.map(({ close }) => close())))
      await Promise.all(ways.map(({ backplane }) => is(backplane, 'up')))
      const [one, other] = await Promise.all(
        ways.map(({ backplane }) => node(t, way, redis.url, { backplane })),
      )
      assert.ok(one && other)
      one.channels.emit('room:1', 'said', { body: 'before' })
      await one.join()
      const { $seen } = answerOf(await other.join())
      assert.equal(Object.values($seen).includes(1), true, 'what was said before is seen')
      one.channels.emit('room:1', 'said', { body: 'one' })
      other.channels.emit('room:1', 'said', { body: 'two' })
      one.channels.emit('room:1', 'said', { body: 'three' })
      await Promise.all([one.flushed(), other.flushed()])
      for (const { join } of [one, other]) {
        const heard = await join($seen)
        assert.equal(answerOf(heard).recovered, true)
        assert.deepEqual(bodiesOf(heard).sort(), ['one', 'three', 'two'])
      }
      const third = await node(t, way, redis.url)
      const heard = await third.join($seen)
      assert.equal(answerOf(heard).recovered, true, 'a node that was not there then')
      assert.deepEqual(bodiesOf(heard).sort(), ['one', 'three', 'two'])
    })

    test('is bounded, and says so', async (t) => {
      const redis = await RunningEngine.start(t, 'redis')
      const { channels, join } = await node(t, way, redis.url, { size: 5 })
      const { $seen } = answerOf(await join())
      for (let n = 1; n <= 300; n++) channels.emit('room:1', 'said', { body: n })
      const late = await join($seen)
      assert.equal(answerOf(late).recovered, false)
      assert.deepEqual(bodiesOf(late), [296, 297, 298, 299, 300])
      const [sender = ''] = Object.keys($seen)
      const soon = await join({ [sender]: 295 })
      assert.equal(answerOf(soon).recovered, true)
      const there = await createClient({ url: redis.url }).connect()
      const [stream = ''] = await there.keys('*:messages')
      assert.ok((await there.xLen(stream)) <= 200, 'MAXLEN, nearly')
      assert.ok((await there.pTTL(stream)) <= 300_000)
      there.destroy()
    })

    test('that has lost what it had vouches for nothing', async (t) => {
      const redis = await RunningEngine.start(t, 'redis')
      const { channels, join, flushed } = await node(t, way, redis.url)
      const { $seen } = answerOf(await join())
      channels.emit('room:1', 'said', { body: 1 })
      await flushed()
      const there = await createClient({ url: redis.url }).connect()
      await there.flushAll()
      there.destroy()
      const next = await node(t, way, redis.url)
      const heard = await next.join($seen)
      assert.equal(answerOf(heard).recovered, false)
      assert.deepEqual(bodiesOf(heard), [])
    })

    test('that is frozen makes a join wait for its timeout, and refuses none', async (t) => {
      const redis = await RunningEngine.start(t, 'redis')
      const { channels, join, server } = await node(t, way, redis.url, { timeout: 100 })
      const { $seen } = answerOf(await join())
      redis.freeze()
      const failed = once(server, 'error')
      channels.emit('room:1', 'said', { body: 'kept here' })
      const heard = await join($seen)
      assert.equal((await failed).message, 'the history failed')
      assert.equal(answerOf(heard).recovered, false)
      assert.deepEqual(bodiesOf(heard), ['kept here'])
      redis.thaw()
      const again = await join($seen)
      assert.equal(answerOf(again).recovered, true)
      assert.deepEqual(bodiesOf(again), ['kept here'])
    })

    test('that is killed is told of once, and members hear each other', async (t) => {
      const redis = await RunningEngine.start(t, 'redis')
      const { channels, join, server } = await node(t, way, redis.url, { timeout: 100 })
      const { $seen } = answerOf(await join())
      await redis.kill()
      const errors: string[] = []
      listen(server, 'error', ({ message }) => void errors.push(message))
      for (const body of [1, 2, 3]) channels.emit('room:1', 'said', { body })
      const heard = await join($seen)
      assert.equal(answerOf(heard).recovered, false)
      assert.deepEqual(bodiesOf(heard), [1, 2, 3])
      assert.deepEqual(errors, ['the history failed'])
    })
  })
}
