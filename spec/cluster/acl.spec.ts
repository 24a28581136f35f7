import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mock, suite, test, type TestContext } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { createClient } from 'redis'
import {
  listen,
  once,
  WebsocketClient,
  WebsocketServer,
  type BackplaneState,
  type WebsocketConnection,
} from 'simplewebsockets'
import { link } from 'simplewebsockets/testing'
import { engineOf, is, open, RunningEngine, ways, without, type Way } from '../support/engines.ts'

const SECRET = 'simplewebsockets.room:secret'

/** The operation that the user `chat` may not do. */
type Denied = 'subscribe' | 'publish' | 'nothing'

/** A broker with a user `chat` that may not do everything, and a user `all`. */
interface Guarded {
  readonly engine: RunningEngine
  readonly urlOf: (user: 'chat' | 'all') => string
  /** Denies something from now on, and grants the rest. */
  readonly deny: (denied: Denied) => Promise<void>
}

async function startGuarded(t: TestContext, way: Way, denied: Denied): Promise<Guarded> {
  return engineOf(way) === 'redis' ? guardedRedis(t, denied) : guardedNats(t, denied)
}

async function guardedRedis(t: TestContext, first: Denied): Promise<Guarded> {
  const engine = await RunningEngine.start(t, 'redis')
  const admin = createClient({ url: engine.url })
  admin.on('error', () => {}) // the broker ends first
  await admin.connect()
  t.after(() => {
    admin.destroy()
  })
  const urlOf = (user: string): string => engine.url.replace('//', `//${user}:pw@`)
  const deny = async (denied: Denied): Promise<void> => {
    // Redis has one list of channels for both: who may not publish may not run PUBLISH.
    const channels =
      denied === 'subscribe' ? ['simplewebsockets.clients', 'simplewebsockets.room:open'] : ['*']
    const patterns = channels.map((channel) => `&${channel}`)
    const publish = denied === 'publish' ? '-publish' : '+publish'
    const rules = ['reset', 'on', '>pw', '+@all', publish, ...patterns]
    await admin.aclSetUser('chat', rules)
  }
  await admin.aclSetUser('all', ['on', '>pw', '+@all', '&*'])
  await deny(first)
  return { engine, urlOf, deny }
}

async function guardedNats(t: TestContext, first: Denied): Promise<Guarded> {
  const folder = await mkdtemp(join(tmpdir(), 'nats-acl-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const file = join(folder, 'nats.conf')
  const write = (denied: Denied): Promise<void> => {
    const rule = denied === 'nothing' ? '' : `permissions: { ${denied}: { deny: "${SECRET}" } }`
    const users = `{ user: chat, password: pw, ${rule} }, { user: all, password: pw }`
    return writeFile(file, `authorization { users: [ ${users} ] }\n`)
  }
  await write(first)
  const engine = await RunningEngine.start(t, 'nats', { options: ['--config', file] })
  const urlOf = (user: string): string => engine.url.replace('//', `//${user}:pw@`)
  const deny = async (denied: Denied): Promise<void> => {
    await write(denied)
    engine.reload()
  }
  return { engine, urlOf, deny }
}

interface Node {
  readonly server: WebsocketServer
  readonly backplane: ReturnType<typeof open>['backplane']
  readonly member: WebsocketConnection
  readonly client: WebsocketConnection
  readonly states: BackplaneState[]
}

async function startNode(t: TestContext, way: Way, url: string): Promise<Node> {
  const { backplane, close } = open(way, url, { heartbeat: 300 })
  const server = new WebsocketServer({ backplane })
  const states: BackplaneState[] = []
  listen(server, 'backplane', (state) => void states.push(state))
  const [member, client] = await link(server, new WebsocketClient())
  t.after(async () => {
    await server.close()
    await close()
  })
  await is(backplane, 'up')
  return { server, backplane, member, client, states }
}

/** Resolves when a node's server tells of so many refused channels, if it doesn't yet. */
async function refuses({ server, backplane }: Node, count: number): Promise<void> {
  while (backplane.stats().refused.length !== count) await once(server, 'backplane')
}

/** Resolves when a node has told its listeners of a state. */
async function tells(node: Node, wanted: BackplaneState): Promise<void> {
  while (!node.states.some((state) => isDeepStrictEqual(state, wanted))) {
    await once(node.server, 'backplane')
  }
}

/** Says something on one node until it is heard by the client of another one. */
async function untilHeard(from: Node, to: Node, room: string, text: string): Promise<void> {
  const timer = setInterval(() => from.server.room(room).emit(text), 10)
  for await (const message of listen(to.client, 'message')) if (message === text) break
  clearInterval(timer)
}

for (const way of ways) {
  suite(`${way}: access rules`, { skip: without(engineOf(way)), timeout: 30_000 }, () => {
    test('a channel that may not be subscribed to is told by name, tried again, and the others work', async (t) => {
      const print = mock.method(console, 'error', () => {})
      t.after(() => {
        print.mock.restore()
      })
      const { urlOf, deny } = await startGuarded(t, way, 'subscribe')
      const [chat, other] = [
        await startNode(t, way, urlOf('chat')),
        await startNode(t, way, urlOf('all')),
      ]
      for (const room of ['open', 'secret']) chat.server.room(room).add(chat.member)
      await refuses(chat, 1)
      const [refused] = chat.backplane.stats().refused
      assert.equal(refused?.operation, 'subscribe')
      assert.equal(refused.channel, SECRET)
      assert.match(refused.reason, /NOPERM|Permissions Violation/)
      await tells(chat, { state: 'up', refused: [refused] })
      await untilHeard(other, chat, 'open', 'ready')
      const heard: unknown[] = []
      const all = Array.from({ length: 40 }, (_, index) => String(index))
      const stop = listen(chat.client, 'message', (message) => void heard.push(message))
      for (const text of all) other.server.room('open').emit(text)
      await untilHeard(other, chat, 'open', 'end')
      stop()
      assert.deepEqual(
        heard.filter((text) => all.includes(String(text))),
        all,
      )
      await deny('nothing')
      await untilHeard(other, chat, 'secret', 'at last')
      await refuses(chat, 0)
      await tells(chat, { state: 'up', refused: [] })
      assert.equal(print.mock.callCount(), 1)
      const text = String(print.mock.calls[0]?.arguments[0])
      assert.ok(text.includes(`refuses to subscribe on \`${SECRET}\``), text)
      assert.ok(text.includes('Allow its user to subscribe on `simplewebsockets.*`'), text)
    })

    test('a channel that is forbidden later takes no other one with it', async (t) => {
      t.mock.method(console, 'error', () => {})
      const { urlOf, deny } = await startGuarded(t, way, 'nothing')
      const [chat, other] = [
        await startNode(t, way, urlOf('chat')),
        await startNode(t, way, urlOf('all')),
      ]
      for (const room of ['open', 'secret']) chat.server.room(room).add(chat.member)
      await untilHeard(other, chat, 'secret', 'before')
      await deny('subscribe')
      await refuses(chat, 1)
      await untilHeard(other, chat, 'open', 'after')
      assert.equal(chat.backplane.stats().refused[0]?.channel, SECRET)
      await deny('nothing')
      await untilHeard(other, chat, 'secret', 'again')
    })

    test('a channel that may not be published on is told by name, and what is lost is counted', async (t) => {
      t.mock.method(console, 'error', () => {})
      const { urlOf, deny } = await startGuarded(t, way, 'publish')
      const [chat, other] = [
        await startNode(t, way, urlOf('chat')),
        await startNode(t, way, urlOf('all')),
      ]
      other.server.room('secret').add(other.member)
      chat.server.room('secret').emit('unheard')
      await refuses(chat, 1)
      const { refused } = chat.backplane.stats()
      assert.deepEqual([refused[0]?.operation, refused[0]?.channel], ['publish', SECRET])
      for (let count = 2; count <= 100; count++) chat.server.room('secret').emit('unheard')
      while (chat.server.stats().drops.backplane < 100) {
        await new Promise((resolve) => setImmediate(resolve))
      }
      assert.equal(chat.server.stats().drops.backplane, 100)
      assert.equal(chat.backplane.stats().dropped, 100)
      await deny('nothing')
      await untilHeard(chat, other, 'secret', 'heard')
      await refuses(chat, 0)
    })
  })
}

const docs = readFileSync(new URL('../../docs/how-to/backplanes.md', import.meta.url), 'utf8')

/** Starts a broker with the access rules that the documentation shows. */
const documented: Readonly<
  Record<ReturnType<typeof engineOf>, (t: TestContext) => Promise<string>>
> = {
  redis: async (t) => {
    const [, shown = ''] = /redis-cli (ACL SETUSER [^`]*)/.exec(docs) ?? []
    const command = shown.replace(/\\\n/g, '').replaceAll("'", '').trim().split(/\s+/)
    const engine = await RunningEngine.start(t, 'redis')
    const admin = await createClient({ url: engine.url }).connect()
    assert.equal(await admin.sendCommand(command), 'OK')
    await admin.aclSetUser('default', ['off'])
    admin.destroy()
    return engine.url.replace('//', '//chat:secret@')
  },
  nats: async (t) => {
    const [, shown = ''] = /```text\n(authorization [^`]*)```/.exec(docs) ?? []
    const folder = await mkdtemp(join(tmpdir(), 'nats-acl-'))
    t.after(() => rm(folder, { recursive: true, force: true }))
    const file = join(folder, 'nats.conf')
    await writeFile(file, shown)
    const engine = await RunningEngine.start(t, 'nats', { options: ['--config', file] })
    return engine.url.replace('//', '//chat:secret@')
  },
}

for (const way of ways) {
  test(
    `${way}: the access rules of docs/how-to/backplanes.md are all that a node needs`,
    { skip: without(engineOf(way)), timeout: 30_000 },
    async (t) => {
      const url = await documented[engineOf(way)](t)
      const [one, other] = [await startNode(t, way, url), await startNode(t, way, url)]
      for (const room of ['lobby', 'größe & co.', 'x'.repeat(1_000)]) {
        other.server.room(room).add(other.member)
        await untilHeard(one, other, room, `to ${room}`)
        other.server.room(room).delete(other.member)
      }
      for (const { backplane } of [one, other]) {
        assert.deepEqual(backplane.stats().refused, [])
        assert.equal(backplane.stats().state, 'up')
      }
    },
  )
}
