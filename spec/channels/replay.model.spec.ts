// Random lives of members on one, two or three nodes beside a record of all that was said: no gap, no
// double, the order of each sender, and `recovered` only where that is so. Replay one with SEED=….
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { listen, memoryBackplane, once, WebsocketServer } from 'simplewebsockets'
import {
  ChannelServer,
  type History,
  type HistoryEntry,
  type Loose,
} from 'simplewebsockets/channels'
import { WebsocketClient } from 'simplewebsockets'
import { link } from 'simplewebsockets/testing'
import { Random } from './random.ts'

const LIVES = Number(process.env.LIVES ?? 150)
const STEPS = 60
const TOPIC = 'room:1'
const SOCKET = 'ws://localhost/socket/websocket?vsn=2.0.0'

type Five = [string | null, string | null, string, string, Loose]

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** A store in this process that takes a turn or two for everything, and fails now and then. */
function storeOf(random: Random, failures: number): History & { idle(): Promise<void> } {
  const entries: HistoryEntry[] = []
  const senders = new Map<string, { since: number; head: number }>()
  let done = Promise.resolve()
  const later = async <Value>(action: () => Value): Promise<Value> => {
    const before = done
    const acted = before.then(async () => {
      if (random.below(2) === 0) await turn()
      if (random.below(100) < failures) throw new Error('it fails')
      return action()
    })
    done = acted.then(
      () => {},
      () => {},
    )
    return acted
  }
  return {
    idle: () => done,
    keep: (_topic, entry, { size }) =>
      later(() => {
        const { sender, n } = entry
        senders.set(sender, { since: senders.get(sender)?.since ?? n, head: n })
        if (n > 0 && entries.push(entry) > 2 * size) entries.splice(0, entries.length - size)
      }),
    read: (_topic, { size }) =>
      later(() => ({
        entries: entries.slice(-size),
        senders: [...senders].map(([sender, known]) => ({ sender, ...known })),
      })),
  }
}

/** Somebody who comes and goes, and remembers as the documentation says. */
class Visitor {
  seen: Record<string, number> | undefined
  /** The bodies that came since it was told that something may be missing. */
  heard: number[] = []
  here: { readonly close: () => Promise<unknown> } | undefined
  /** Where it is, or was last. */
  server: WebsocketServer | undefined
  /** What should never have come. */
  wrong: unknown
  recovered = 0
  lost = 0

  async join(server: WebsocketServer, meanwhile: () => void): Promise<void> {
    const [, here] = await link(server, new WebsocketClient({ keepaliveTimeout: false }), SOCKET)
    listen(here, 'message', (data) => {
      try {
        this.#hear(JSON.parse(String(data)) as Five)
      } catch (error) {
        this.wrong ??= error
      }
    })
    const joined = once(here, 'message')
    here.send(JSON.stringify(['1', '1', TOPIC, 'phx_join', { $seen: this.seen }]))
    this.here = here
    this.server = server
    meanwhile()
    await joined
  }

  async leave(): Promise<void> {
    await this.here?.close()
    this.here = undefined
  }

  #hear([, , , event, payload]: Five): void {
    if (event === 'phx_reply') {
      const { $seen, recovered } = payload.response as {
        $seen: Record<string, number>
        recovered?: boolean
      }
      this.seen = $seen
      if (recovered === true) {
        this.recovered++
        return
      }
      this.lost++
      this.heard = []
      return
    }
    const [sender = '', n] = (payload.$position as string).split(':')
    assert.ok(this.seen)
    const last = this.seen[sender] ?? 0
    assert.ok(Number(n) > last, `${sender}:${n} came after ${last}: a double, or out of order`)
    this.seen[sender] = Number(n)
    this.heard.push(payload.body as number)
  }
}

async function life(random: Random): Promise<[recovered: number, lost: number]> {
  const nodes = 1 + random.below(3)
  const backplane = memoryBackplane()
  const size = random.pick([3, 10, 50])
  // What a store didn't take only those know of who heard it.
  const failures = nodes === 1 ? random.pick([0, 0, 10]) : 0
  const store = random.below(2) === 0 ? storeOf(random, failures) : undefined
  const restarts = store === undefined || failures === 0
  const make = (): { server: WebsocketServer; channels: ChannelServer } => {
    const server = new WebsocketServer({ path: '/socket', ...(nodes > 1 && { backplane }) })
    listen(server, 'error', () => {})
    const channels = new ChannelServer(server)
    channels.topic('room:*', { open: true, history: { size, store } })
    return { server, channels }
  }
  const servers = Array.from({ length: nodes }, make)
  const any = (): ReturnType<typeof make> => servers[random.below(nodes)] ?? make()
  const visitors = [new Visitor(), new Visitor(), new Visitor()]
  /** What was said since a visitor was last told that something may be missing. */
  const since = new Map<Visitor, number[]>()
  let count = 0
  const settled = async (): Promise<void> => {
    for (let turns = 0; turns < 12; turns++) await turn()
    await store?.idle()
    for (let turns = 0; turns < 12; turns++) await turn()
  }
  const check = (visitor: Visitor): void => {
    if (visitor.wrong !== undefined) throw visitor.wrong
    const heard = [...visitor.heard].sort((one, other) => one - other)
    const said = (since.get(visitor) ?? []).filter((body) => !heard.includes(body))
    assert.deepEqual(said, [], 'nothing that was said is missing')
  }
  const say = (): void => {
    const body = ++count
    any().channels.emit(TOPIC, 'said', { body })
    for (const each of visitors) since.get(each)?.push(body)
  }
  for (let step = 0; step < STEPS; step++) {
    const visitor = visitors[random.below(3)]
    const act = random.below(10)
    if (act < 6) {
      say()
      if (random.below(2) === 0) await settled()
    } else if (act === 6 && restarts) {
      // A node is started anew: whoever was there is sent away.
      await settled()
      const index = random.below(nodes)
      const old = servers[index]
      for (const each of visitors) if (each.server === old?.server) await each.leave()
      await old?.server.close()
      servers[index] = make()
    } else if (visitor?.here) {
      await settled()
      check(visitor)
      await visitor.leave()
    } else if (visitor) {
      const lost = visitor.lost
      if (nodes > 1 || random.below(3) > 0) await settled()
      const { server } = any()
      const speaks = random.below(2) === 0
      // What is said in between comes with the answer, or behind it.
      await visitor.join(server, () => {
        if (speaks && nodes === 1 && since.has(visitor)) say()
      })
      await settled()
      if (visitor.lost > lost) since.set(visitor, [])
      else check(visitor)
    }
  }
  await settled()
  for (const visitor of visitors) if (visitor.here) check(visitor)
  await Promise.all(servers.map(({ server }) => server.close()))
  const sum = (of: 'recovered' | 'lost'): number =>
    visitors.reduce((total, visitor) => total + visitor[of], 0)
  return [sum('recovered'), sum('lost')]
}

test(`${LIVES} random lives: no gap, no double, in order, and honest`, async (t) => {
  const { seed } = new Random()
  t.diagnostic(`SEED=${seed}`)
  const totals = [0, 0]
  for (let index = 0; index < LIVES; index++) {
    const random = new Random(process.env.LIVES === '1' ? seed : seed + index)
    try {
      const [recovered, lost] = await life(random)
      totals[0] = (totals[0] ?? 0) + recovered
      totals[1] = (totals[1] ?? 0) + lost
    } catch (cause) {
      throw new Error(`replay it with LIVES=1 SEED=${seed + index}`, { cause })
    }
  }
  t.diagnostic(`${totals[0]} recovered, ${totals[1]} fresh or lost`)
  assert.ok((totals[0] ?? 0) > LIVES)
})
