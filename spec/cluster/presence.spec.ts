import assert from 'node:assert/strict'
import { fork, type ChildProcess } from 'node:child_process'
import { once as onceOf } from 'node:events'
import { suite, test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import { listen } from 'simplewebsockets'
import { ChannelClient, Presence, type Channel } from 'simplewebsockets/channels'
import { engineOf, RunningEngine, ways, without, type Way } from '../support/engines.ts'

const HEARTBEAT = 400

interface Said {
  readonly port?: number
  readonly names?: readonly string[]
  readonly state?: string
  readonly handled?: unknown
}

/** A node in a process of its own. */
class NodeProcess {
  readonly said: Said[] = []
  readonly #child: ChildProcess
  readonly #wakes = new Set<() => void>()

  constructor(t: TestContext, way: Way, url: string) {
    const file = fileURLToPath(new URL('./node.ts', import.meta.url))
    this.#child = fork(file, [way, url, String(HEARTBEAT)], {
      execArgv: ['--conditions=source', '--import', 'tsx'],
    })
    this.#child.on('message', (message) => {
      this.said.push(message as Said)
      for (const wake of this.#wakes) wake()
    })
    t.after(() => this.kill())
  }

  /** The last thing it said that fits. */
  async until(fits: (said: Said) => boolean): Promise<Said> {
    for (;;) {
      const found = this.said.findLast(fits)
      if (found) return found
      await new Promise<void>((resolve) => this.#wakes.add(resolve))
    }
  }

  /** Waits until those members, and no others, are here. */
  async sees(...names: string[]): Promise<void> {
    for (;;) {
      const last = this.said.findLast((said) => said.names !== undefined)?.names ?? []
      if (String(last) === String(names)) return
      await new Promise<void>((resolve) => this.#wakes.add(resolve))
    }
  }

  async join(t: TestContext, name: string): Promise<{ channel: Channel; presence: Presence }> {
    const { port } = await this.until((said) => said.port !== undefined)
    const client = new ChannelClient()
    t.after(() => client.close())
    const channel = client.channel('room:1', { name })
    const presence = new Presence(channel)
    await client.open(`ws://127.0.0.1:${port}/socket`)
    await channel.join()
    return { channel, presence }
  }

  freeze(): void {
    this.#child.kill('SIGSTOP')
  }

  thaw(): void {
    this.#child.kill('SIGCONT')
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const ended = onceOf(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await ended
  }
}

const names = (presence: Presence): string[] => [...presence].map(([key]) => key).sort()

/** Waits until a client sees those members, and no others. */
async function shows(presence: Presence, ...wanted: string[]): Promise<void> {
  const syncs = listen(presence, 'sync')
  while (String(names(presence)) !== String(wanted)) await syncs.next()
  await syncs.return?.()
}

for (const way of ways) {
  const brand = engineOf(way)
  suite(`${way}: presence`, { skip: without(brand), timeout: 60_000 }, () => {
    test('is one over nodes: a node that dies is swept within three of its heartbeats', async (t) => {
      const engine = await RunningEngine.start(t, brand)
      const [one, other] = [
        new NodeProcess(t, way, engine.url),
        new NodeProcess(t, way, engine.url),
      ]
      const ann = await one.join(t, 'ann')
      const bob = await other.join(t, 'bob')
      await Promise.all([one.sees('ann', 'bob'), other.sees('ann', 'bob')])
      await Promise.all([shows(ann.presence, 'ann', 'bob'), shows(bob.presence, 'ann', 'bob')])
      await other.kill()
      const began = performance.now()
      await Promise.all([one.sees('ann'), shows(ann.presence, 'ann')])
      const took = performance.now() - began
      assert.ok(took < 3 * HEARTBEAT, `it took ${took} ms`)
      t.diagnostic(`swept after ${Math.round(took)} ms, heartbeats of ${HEARTBEAT} ms`)
    })

    test('converges on all nodes when one that was frozen is back', async (t) => {
      const engine = await RunningEngine.start(t, brand)
      const [one, other] = [
        new NodeProcess(t, way, engine.url),
        new NodeProcess(t, way, engine.url),
      ]
      const ann = await one.join(t, 'ann')
      const bob = await other.join(t, 'bob')
      await Promise.all([one.sees('ann', 'bob'), other.sees('ann', 'bob')])
      other.freeze()
      await one.sees('ann')
      const eve = await one.join(t, 'eve')
      await one.sees('ann', 'eve')
      other.thaw()
      const all = ['ann', 'bob', 'eve']
      await Promise.all([one.sees(...all), other.sees(...all)])
      for (const { presence } of [ann, bob, eve]) await shows(presence, ...all)
    })

    test('converges on all nodes when their engine was gone meanwhile', async (t) => {
      const engine = await RunningEngine.start(t, brand)
      const [one, other] = [
        new NodeProcess(t, way, engine.url),
        new NodeProcess(t, way, engine.url),
      ]
      const ann = await one.join(t, 'ann')
      const bob = await other.join(t, 'bob')
      await Promise.all([one.sees('ann', 'bob'), other.sees('ann', 'bob')])
      await engine.kill()
      await Promise.all([one.sees('ann'), other.sees('bob')])
      const eve = await other.join(t, 'eve')
      await bob.channel.leave()
      await other.sees('eve')
      await engine.start()
      await Promise.all([one.sees('ann', 'eve'), other.sees('ann', 'eve')])
      for (const { presence } of [ann, eve]) await shows(presence, 'ann', 'eve')
    })

    test('and a handler runs on the node of the socket alone; what it sends travels', async (t) => {
      const engine = await RunningEngine.start(t, brand)
      const [one, other] = [
        new NodeProcess(t, way, engine.url),
        new NodeProcess(t, way, engine.url),
      ]
      const ann = await one.join(t, 'ann')
      const bob = await other.join(t, 'bob')
      await Promise.all([one.sees('ann', 'bob'), other.sees('ann', 'bob')])
      const heard: unknown[] = []
      listen(bob.channel.messages, 'said', ({ payload }) => void heard.push(payload))
      // A new member hears other nodes once the engine knows of it, and no call waits for that.
      let said = 0
      while (heard.length === 0) await ann.channel.push('say', { number: ++said })
      await one.until(({ handled }) => isDeepStrictEqual(handled, { number: said }))
      const handlers = [one, other].map((node) => node.said.filter(({ handled }) => handled).length)
      assert.deepEqual(handlers, [said, 0])
    })
  })
}
