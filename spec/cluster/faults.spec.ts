import assert from 'node:assert/strict'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { once as onceOf } from 'node:events'
import { suite, test, type TestContext } from 'node:test'
import { listen, once, WebsocketClient, WebsocketServer } from 'simplewebsockets'
import { link } from 'simplewebsockets/testing'
import type { BrokerBackplane } from '../../lib/backplane/broker-backplane.ts'
import type { BrokerOptions } from '../../lib/options/broker.ts'
import { engineOf, is, open, RunningEngine, ways, without, type Way } from '../support/engines.ts'

/** A node: a server with one client in a room, and a backplane of its own. */
interface Node {
  readonly server: WebsocketServer
  readonly backplane: BrokerBackplane
  readonly states: string[]
  /** The messages that the client has heard so far. */
  readonly heard: string[]
  /** Waits until the client hears something. */
  readonly hears: (text: string) => Promise<void>
}

async function startNode(
  t: TestContext,
  way: Way,
  url: string,
  options?: BrokerOptions,
): Promise<Node> {
  const { backplane, close } = open(way, url, { heartbeat: 300, ...options })
  const server = new WebsocketServer({ backplane })
  const states: string[] = []
  listen(server, 'backplane', ({ state }) => void states.push(state))
  listen(server, 'error', (error) => void states.push(error.message))
  const [there, here] = await link(server, new WebsocketClient())
  server.room('lobby').add(there)
  const heard: string[] = []
  const wakes = new Set<() => void>()
  listen(here, 'message', (message) => {
    heard.push(String(message))
    for (const wake of wakes) wake()
  })
  t.after(async () => {
    await server.close()
    await close()
  })
  const hears = async (text: string): Promise<void> => {
    while (!heard.includes(text)) await new Promise<void>((resolve) => wakes.add(resolve))
  }
  return { server, backplane, states, heard, hears }
}

/** Lets what was put off to the end of the turn happen. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Checks that a message of one node is heard there at once, whatever the engine does. */
async function isHeardHere({ server, heard }: Node, text: string): Promise<void> {
  server.room('lobby').emit(text)
  await turn()
  assert.ok(heard.includes(text), `${text} was not heard where it was said`)
}

/** Says something until it is heard elsewhere: how long that took, in milliseconds. */
async function untilHeard(from: Node, to: Node, text: string): Promise<number> {
  const start = performance.now()
  const heard = to.hears(text)
  const timer = setInterval(() => from.server.room('lobby').emit(text), 5)
  await heard
  clearInterval(timer)
  return Math.round(performance.now() - start)
}

const faults: Readonly<Record<string, (engine: RunningEngine) => Promise<() => Promise<void>>>> = {
  killed: async (engine) => {
    await engine.kill()
    return () => engine.start()
  },
  'killed and started again at once': async (engine) => {
    await engine.kill()
    await engine.start()
    return () => Promise.resolve()
  },
  frozen: (engine) => {
    engine.freeze()
    return Promise.resolve(() => {
      engine.thaw()
      return Promise.resolve()
    })
  },
}

for (const way of ways) {
  const brand = engineOf(way)
  suite(`${way}: an engine`, { skip: without(brand), timeout: 60_000 }, () => {
    for (const [fault, happen] of Object.entries(faults)) {
      test(`${fault} leaves local members in touch, and is told; then all is as it was`, async (t) => {
        const engine = await RunningEngine.start(t, brand)
        const [one, other] = [
          await startNode(t, way, engine.url),
          await startNode(t, way, engine.url),
        ]
        await Promise.all([is(one.backplane, 'up'), is(other.backplane, 'up')])
        await untilHeard(one, other, 'before')
        const [there, here] = await link(other.server, new WebsocketClient())
        const [leaver] = await link(other.server, new WebsocketClient())
        other.server.room('left').add(leaver)
        const down = [is(one.backplane, 'down'), is(other.backplane, 'down')]
        const began = performance.now()
        const mend = await happen(engine)
        await Promise.all(down)
        const toldAfter = Math.round(performance.now() - began)
        if (fault === 'killed' || fault === 'frozen') {
          const dropped = one.server.stats().dropped
          await isHeardHere(one, 'meanwhile')
          await isHeardHere(other, 'meanwhile, there')
          // So may be one from before that was not confirmed.
          assert.ok(one.server.stats().dropped > dropped, 'it could not go out: counted')
          assert.ok(!other.heard.includes('meanwhile'))
        }
        other.server.room('joined while it was down').add(there)
        other.server.room('left').delete(leaver)
        await mend()
        const mended = performance.now()
        await untilHeard(one, other, 'after')
        const recovered = Math.round(performance.now() - mended)
        await untilHeard(other, one, 'after, back')
        const heard = once(here, 'message')
        one.server.room('joined while it was down').emit('welcome')
        assert.equal(await heard, 'welcome')
        await Promise.all([is(one.backplane, 'up'), is(other.backplane, 'up')])
        assert.equal(other.backplane.stats().channels, 3, 'nobody is in `left`')
        for (const { states } of [one, other]) {
          const since = states.indexOf('up') // a first connection may take longer than a heartbeat
          assert.deepEqual(states.slice(since), ['up', 'down', 'up'])
        }
        t.diagnostic(`told after ${toldAfter} ms; heard elsewhere after ${recovered} ms`)
      })
    }

    test('that is not there at the start is waited for, and no local member waits', async (t) => {
      const engine = await RunningEngine.start(t, brand, { started: false })
      const [one, other] = [
        await startNode(t, way, engine.url),
        await startNode(t, way, engine.url),
      ]
      await isHeardHere(one, 'alone')
      await Promise.all([is(one.backplane, 'down'), is(other.backplane, 'down')])
      await isHeardHere(one, 'alone still')
      await engine.start()
      const began = performance.now()
      await untilHeard(one, other, 'together')
      const took = Math.round(performance.now() - began)
      await is(one.backplane, 'up')
      assert.deepEqual(one.states, ['down', 'up'])
      t.diagnostic(`heard elsewhere after ${took} ms`)
    })

    test('that is frozen takes no more than it may, and no node crashes', async (t) => {
      const engine = await RunningEngine.start(t, brand)
      const options = { heartbeat: 5_000, maxBufferedAmount: 100_000 }
      const [one, other] = [
        await startNode(t, way, engine.url, options),
        await startNode(t, way, engine.url),
      ]
      await Promise.all([is(one.backplane, 'up'), is(other.backplane, 'up')])
      await untilHeard(one, other, 'before')
      engine.freeze()
      const { published } = one.backplane.stats()
      const text = 'x'.repeat(1_000)
      for (let count = 0; count < 10_000; count++) one.server.room('lobby').emit(text)
      // Reading has its share of each turn of the event loop, and no more.
      while (one.heard.filter((said) => said === text).length < 10_000) await turn()
      const sent = one.backplane.stats().published - published
      assert.ok(sent < 100, `${sent} messages wait for an engine that takes none`)
      assert.equal(one.server.stats().dropped, 10_000 - sent)
      engine.thaw()
      await untilHeard(one, other, 'after')
      const late = other.heard.filter((said) => said === text).length
      assert.equal(late, sent, 'what was taken comes, late and once')
      t.diagnostic(`${sent} of 10,000 were taken`)
    })

    test('that is slow makes only those elsewhere wait', async (t) => {
      const engine = await RunningEngine.start(t, brand)
      const slow = await slowly(t, engine.port, 100)
      const [one, other] = [
        await startNode(t, way, engine.url.replace(/\d+$/, String(slow)), { heartbeat: 1_000 }),
        await startNode(t, way, engine.url),
      ]
      await Promise.all([is(one.backplane, 'up'), is(other.backplane, 'up')])
      const numbers = Array.from({ length: 50 }, (_, index) => String(index))
      const began = performance.now()
      for (const number of numbers) await isHeardHere(one, number)
      const here = Math.round(performance.now() - began)
      await other.hears('49')
      const there = Math.round(performance.now() - began)
      assert.ok(there >= 100, 'that takes its time')
      assert.ok(here < there)
      assert.deepEqual(other.heard, numbers)
      t.diagnostic(`the last of 50 was heard here after ${here} ms, elsewhere after ${there} ms`)
    })

    test('that closes a connection in the middle of a message loses that one alone', async (t) => {
      const engine = await RunningEngine.start(t, brand)
      const [one, other] = [
        await startNode(t, way, engine.url),
        await startNode(t, way, engine.url),
      ]
      await Promise.all([is(one.backplane, 'up'), is(other.backplane, 'up')])
      one.server.room('lobby').emit('x'.repeat(900_000))
      await engine.kill()
      await engine.start()
      await untilHeard(one, other, 'after')
      assert.ok(other.heard.filter((text) => text.length === 900_000).length <= 1)
    })
  })
}

/** A port that passes everything on to another one, late. */
async function slowly(t: TestContext, port: number, delay: number): Promise<number> {
  const sockets = new Set<Socket>()
  const pass = (from: Socket, to: Socket): void => {
    sockets.add(from)
    from.on('error', () => to.destroy())
    from.on('data', (data) => void setTimeout(() => to.writable && to.write(data), delay))
    from.on('close', () => void setTimeout(() => to.destroy(), delay))
  }
  const proxy = createServer((near) => {
    const far = connect(port, '127.0.0.1')
    pass(near, far)
    pass(far, near)
  }).listen(0, '127.0.0.1')
  await onceOf(proxy, 'listening')
  t.after(() => {
    proxy.close()
    for (const socket of sockets) socket.destroy()
  })
  return (proxy.address() as AddressInfo).port
}
