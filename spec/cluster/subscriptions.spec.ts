import assert from 'node:assert/strict'
import { suite, test, type TestContext } from 'node:test'
import {
  listen,
  WebsocketClient,
  WebsocketServer,
  type WebsocketConnection,
} from 'simplewebsockets'
import { link } from 'simplewebsockets/testing'
import { engineOf, is, open, RunningEngine, ways, without, type Way } from '../support/engines.ts'
import { below, pick, seeded } from '../support/random.ts'

const HEARTBEAT = 100
const PATIENCE = 20_000 // milliseconds until a room counts as deaf

/** A node with one client that joins and leaves rooms. */
class Node {
  readonly server: WebsocketServer
  readonly backplane: ReturnType<typeof open>['backplane']
  readonly rooms = new Set<string>()
  readonly #member: WebsocketConnection
  readonly #heard = new Set<string>()
  readonly #wakes = new Set<() => void>()

  private constructor(
    server: WebsocketServer,
    backplane: Node['backplane'],
    [member, client]: readonly [WebsocketConnection, WebsocketConnection],
  ) {
    this.server = server
    this.backplane = backplane
    this.#member = member
    listen(client, 'message', (message) => {
      this.#heard.add(String(message))
      for (const wake of this.#wakes) wake()
    })
  }

  static async start(t: Pick<TestContext, 'after'>, way: Way, url: string): Promise<Node> {
    const { backplane, close } = open(way, url, { heartbeat: HEARTBEAT })
    const server = new WebsocketServer({ backplane })
    t.after(async () => {
      await server.close()
      await close()
    })
    return new Node(server, backplane, await link(server, new WebsocketClient()))
  }

  join(room: string): void {
    this.rooms.add(room)
    this.server.room(room).add(this.#member)
  }

  leave(room: string): void {
    this.rooms.delete(room)
    this.server.room(room).delete(this.#member)
  }

  /** Emits a text to a room on another node until this one has heard it. */
  async hears(room: string, text: string, from: Node): Promise<void> {
    const end = Date.now() + PATIENCE
    while (!this.#heard.has(text)) {
      assert.ok(Date.now() < end, `\`${room}\` has a member, and is deaf: "${text}" did not come`)
      from.server.room(room).emit(text)
      await this.#next()
    }
  }

  /** Resolves with the next message, or soon. */
  async #next(): Promise<void> {
    let wake = (): void => {}
    let timer: NodeJS.Timeout | undefined
    await new Promise<void>((resolve) => {
      wake = resolve
      this.#wakes.add(wake)
      timer = setTimeout(resolve, 20)
    })
    clearTimeout(timer)
    this.#wakes.delete(wake)
  }
}

/** Waits until the broker sends the channels of rooms that have members, and no others. */
async function untilOnlyWanted(engine: RunningEngine, nodes: readonly Node[]): Promise<void> {
  const rooms = new Set(nodes.flatMap((node) => [...node.rooms]))
  const wanted = [...rooms].map((room) => `simplewebsockets.room:${room}`)
  const expected = [...wanted, 'simplewebsockets.clients'].sort()
  const end = Date.now() + PATIENCE
  for (;;) {
    const channels = await engine.channels()
    if (Date.now() > end) assert.deepEqual(channels, expected)
    if (channels.join() === expected.join()) return
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

async function startNodes(
  t: TestContext,
  way: Way,
): Promise<{ engine: RunningEngine; one: Node; other: Node }> {
  const engine = await RunningEngine.start(t, engineOf(way))
  const one = await Node.start(t, way, engine.url)
  const other = await Node.start(t, way, engine.url)
  await Promise.all([is(one.backplane, 'up'), is(other.backplane, 'up')])
  return { engine, one, other }
}

const all = (nodes: readonly Node[], state: 'up' | 'down'): Promise<unknown> =>
  Promise.all(nodes.map(({ backplane }) => is(backplane, state)))

for (const way of ways) {
  suite(`${way}: subscriptions`, { skip: without(engineOf(way)), timeout: 60_000 }, () => {
    for (const restarts of [false, true]) {
      const what = restarts ? 'is killed and restarted' : 'thaws'
      test(`a room that was emptied while the broker was frozen, and joined again, hears when it ${what}`, async (t) => {
        const { engine, one, other } = await startNodes(t, way)
        one.join('lobby')
        await one.hears('lobby', 'before', other)
        engine.freeze()
        one.leave('lobby')
        await all([one, other], 'down')
        one.join('lobby')
        if (restarts) {
          await engine.kill()
          await engine.start()
        } else {
          engine.thaw()
        }
        await one.hears('lobby', 'after', other)
        await untilOnlyWanted(engine, [one, other])
      })
    }

    test('a room that was emptied while the broker was down or frozen is not subscribed to for ever', async (t) => {
      const { engine, one, other } = await startNodes(t, way)
      for (const room of ['frozen', 'killed', 'kept']) one.join(room)
      await one.hears('killed', 'before', other)
      engine.freeze()
      await all([one, other], 'down')
      one.leave('frozen')
      engine.thaw()
      await all([one, other], 'up')
      await engine.kill()
      await all([one, other], 'down')
      one.leave('killed')
      await engine.start()
      await one.hears('kept', 'after', other)
      await untilOnlyWanted(engine, [one, other])
    })
  })
}

const STEPS = Number(process.env.STEPS ?? 40)
const SEEDS = Number(process.env.SEEDS ?? 1)
const ROOMS = ['a', 'b', 'c', 'd'] as const
const ACTS = [
  'join',
  'join',
  'leave',
  'leave',
  'freeze',
  'thaw',
  'restart',
  'wait',
  'check',
] as const

/** Draws what happens to two nodes and their broker; at each check all rooms with members must hear. */
async function model(t: TestContext, way: Way, seed: number): Promise<number> {
  const random = seeded(seed)
  const { engine, one, other } = await startNodes(t, way)
  const nodes = [one, other] as const
  const acts: string[] = []
  let isFrozen = false
  let checks = 0
  const thaw = (): void => {
    isFrozen = false
    engine.thaw()
  }
  const check = async (): Promise<void> => {
    thaw()
    for (const [node, from] of [
      [one, other],
      [other, one],
    ] as const) {
      for (const room of node.rooms) await node.hears(room, `${checks++} in ${room}`, from)
    }
    await untilOnlyWanted(engine, nodes)
  }
  const run: Readonly<Record<(typeof ACTS)[number], () => unknown>> = {
    join: () => pick(random, nodes).join(pick(random, ROOMS)),
    leave: () => pick(random, nodes).leave(pick(random, ROOMS)),
    freeze: () => {
      isFrozen = true
      engine.freeze()
    },
    thaw,
    restart: async () => {
      await engine.kill()
      isFrozen = false
      if (below(random, 2) === 0) await all(nodes, 'down')
      await engine.start()
    },
    wait: () => (isFrozen ? all(nodes, 'down') : new Promise((resolve) => setImmediate(resolve))),
    check,
  }
  try {
    for (let step = 0; step < STEPS; step++) {
      const act = pick(random, ACTS)
      acts.push(act)
      await run[act]()
    }
    await check()
  } catch (error) {
    throw new Error(`seed ${seed}: ${acts.join(', ')}: ${String(error)}`, { cause: error })
  }
  return checks
}

for (const way of ways) {
  test(
    `${way}: after random joins, leaves, stalls and restarts every room with members hears`,
    { skip: without(engineOf(way)), timeout: 60_000 + SEEDS * STEPS * 2_000 },
    async (t) => {
      const first = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31))
      let checks = 0
      for (let seed = first; seed < first + SEEDS; seed++) {
        await t.test(`seed ${seed}`, async (sub) => void (checks += await model(sub, way, seed)))
      }
      t.diagnostic(`seeds ${first} to ${first + SEEDS - 1}, ${STEPS} steps each: ${checks} heard`)
    },
  )
}
