import assert from 'node:assert/strict'
import { suite, test, type TestContext } from 'node:test'
import { listen, once, WebsocketClient, WebsocketServer } from 'simplewebsockets'
import { backplaneContract, link } from 'simplewebsockets/testing'
import {
  engineOf,
  is,
  open,
  RunningEngine,
  ways,
  without,
  type Opened,
  type Way,
} from '../support/engines.ts'

/** Opens two backplanes over one broker. */
async function openTwo(t: TestContext, way: Way): Promise<readonly [Opened, Opened]> {
  const { url } = await RunningEngine.start(t, engineOf(way))
  const two = [open(way, url), open(way, url)] as const
  t.after(() => Promise.all(two.map(({ close }) => close())))
  await Promise.all(two.map(({ backplane }) => is(backplane, 'up')))
  return two
}

for (const way of ways) {
  suite(way, { skip: without(engineOf(way)), timeout: 60_000 }, () => {
    let engine: RunningEngine | undefined
    const contract = backplaneContract(async () => {
      const url = engine?.url ?? ''
      const [one, other] = [open(way, url), open(way, url)]
      await Promise.all([is(one.backplane, 'up'), is(other.backplane, 'up')])
      return {
        nodes: [one.backplane, other.backplane],
        release: () => Promise.all([one.close(), other.close()]),
      }
    })
    test('its contract', async (t) => {
      engine = await RunningEngine.start(t, engineOf(way))
      for (const { name, run } of contract) await t.test(name, run)
    })

    test('a receiver that throws or rejects harms no other, and hears the next message', async (t) => {
      const [{ backplane: one }, { backplane: other }] = await openTwo(t, way)
      const heard: string[] = []
      const hears = (name: string, text: string): void => void heard.push(`${name} ${text}`)
      await other.subscribe('news', (message) => {
        hears('throws', String(message[0]))
        throw new Error('boom')
      })
      const rejects = (message: Uint8Array): unknown => {
        hears('rejects', String(message[0]))
        return Promise.reject(new Error('boom'))
      }
      await other.subscribe('news', rejects)
      const ended = new Promise<void>((resolve) => {
        void other.subscribe('news', ([byte]) => {
          hears('hears', String(byte))
          if (byte === 2) resolve()
        })
      })
      for (const byte of [1, 2]) await one.publish('news', Uint8Array.of(byte))
      await ended
      await new Promise((resolve) => setImmediate(resolve))
      assert.deepEqual(heard, [
        ...['throws 1', 'rejects 1', 'hears 1'],
        ...['throws 2', 'rejects 2', 'hears 2'],
      ])
      assert.equal(other.stats().dropped, 4)
      assert.match(String(other.stats().failure), /boom/)
      assert.equal(other.stats().state, 'up')
    })

    test('what makes no sense is counted alike by the server and by its backplane', async (t) => {
      const [{ backplane: one }, { backplane: other }] = await openTwo(t, way)
      const server = new WebsocketServer({ backplane: other })
      const [member] = await link(server, new WebsocketClient())
      server.room('lobby').add(member)
      await other.subscribe('room:lobby', () => {}) // by then the room is subscribed to, too
      for (let count = 0; count < 10; count++) await one.publish('room:lobby', Uint8Array.of(1, 2))
      const counts = (): number[] => [server.stats().drops.backplane, other.stats().dropped]
      while (counts()[0] !== 10) await new Promise((resolve) => setImmediate(resolve))
      assert.deepEqual(counts(), [10, 10])
      await server.close()
    })

    test('a message longer than `maxBufferedAmount` is refused, counted and told', async (t) => {
      const { url } = await RunningEngine.start(t, engineOf(way))
      const { backplane, close } = open(way, url, { maxBufferedAmount: 10_000 })
      t.after(close)
      const server = new WebsocketServer({ backplane })
      await is(backplane, 'up')
      const states: string[] = []
      listen(server, 'backplane', ({ state }) => void states.push(state))
      const error = once(server, 'error')
      server.room('lobby').emit('x'.repeat(10_000))
      const { cause } = await error
      assert.match(
        String(cause),
        /^RangeError: 10023 bytes are too many for a message between nodes: raise `maxBufferedAmount` from 10000/,
      )
      assert.equal(server.stats().drops.backplane, 1)
      assert.equal(backplane.stats().dropped, 1)
      assert.ok(!states.includes('down'), 'the broker has not noticed')
    })
  })
}
