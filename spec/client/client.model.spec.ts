// Random lives of a reconnecting client beside a small model of it: the table of
// docs/reconnecting.md. Replay one with SEED=…, run more with SEQUENCES=….
import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { ConnectError, listen, WebsocketClient } from 'simplewebsockets'
import type { CloseReason, WebsocketConnection } from 'simplewebsockets'
import { cut } from 'simplewebsockets/testing'
import { OPEN_WITH } from '../../lib/internal.ts'
import type { DialCallbacks, Network, TransportReceiver } from '../../lib/transport/transport.ts'
import { seeded } from '../support/random.ts'
import type { Transport } from '../../lib/transport/transport.ts'
import { memoryEnds } from '../support/transport/memory.ts'

const SEQUENCES = Number(process.env.SEQUENCES ?? 3_000)
const STEPS = 30

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** How an attempt or a connection may end by itself, and whether it is tried again by default. */
interface End {
  readonly code?: number
  readonly status?: number | undefined
  readonly again: boolean
  /** Milliseconds that the server asks for. */
  readonly asked: number
  readonly text?: string
}

const refusals: readonly End[] = [
  { again: true, asked: 0 },
  { status: 302, again: true, asked: 0 },
  { status: 401, again: false, asked: 0 },
  { status: 404, again: false, asked: 0 },
  { status: 408, again: true, asked: 0 },
  { status: 425, again: true, asked: 0, text: '9' },
  { status: 429, again: true, asked: 7_000, text: '7' },
  { status: 500, again: true, asked: 0, text: '9' },
  { status: 503, again: true, asked: 20_000, text: '20' },
]

const losses: readonly End[] = [
  { code: 1000, again: false, asked: 0 },
  { code: 1001, again: true, asked: 0, text: 'retry=9000' },
  { code: 1002, again: false, asked: 0 },
  { code: 1006, again: true, asked: 0 },
  { code: 1008, again: false, asked: 0 },
  { code: 1011, again: true, asked: 0 },
  { code: 1012, again: true, asked: 4_000, text: 'back soon, retry=4000' },
  { code: 1013, again: true, asked: 500, text: 'retry=500' },
  { code: 4000, again: true, asked: 0 },
]

const servers = ['ws://one.test', 'ws://two.test'] as const

const events = ['asked', 'connect', 'connectError', 'retry', 'close', 'closed'] as const
type Event = (typeof events)[number]

/** The deeds that the program may do, also in a listener. */
const deeds = ['open', 'close', 'abort', 'closeConnection', 'cut'] as const
type Deed = (typeof deeds)[number]

interface Policy {
  readonly reconnect: boolean
  readonly attempts: number
}

const CLOSE = 4001
const CLOSE_CONNECTION = 4002
const TIMEOUT = 10_000
const LOST: End = { code: 1006, again: true, asked: 0 }

interface Trap {
  readonly event: Event
  readonly deed: Deed
}

/** The client as the table has it: nothing of sockets, promises or timers. */
class Model {
  state: 'closed' | 'asking' | 'dialling' | 'failed' | 'waiting' | 'open' | 'lost' = 'closed'
  now = 0
  /** When time alone makes something happen. */
  due = Infinity
  /** The deed for the next listener of an event. */
  trap: Trap | undefined
  readonly story: string[] = []
  /** The outcome of each `open`. */
  readonly outcomes: string[] = []
  readonly #policy: Policy
  readonly #drawn: (least: number, most: number) => number
  #life = -1
  #stopped: number | undefined
  #ending: End | undefined
  #count = 0
  #begun = 0
  #connected = 0
  #soonest = 0
  /** The server that the url has named, for this attempt. */
  #server: string | undefined
  /** When a server may be dialled that asked to be left alone. */
  readonly #until = new Map<string, number>()

  /** `drawn` is the delay that the client told: only its bounds are known here. */
  constructor(policy: Policy, drawn: (least: number, most: number) => number) {
    this.#policy = policy
    this.#drawn = drawn
  }

  timePasses(now: number): void {
    this.now = now
    if (this.due > now) return
    if (this.state === 'waiting') this.#attempt()
    else this.refused({ again: true, asked: 0 })
  }

  urlGiven(server: string): void {
    const remaining = (this.#until.get(server) ?? 0) - this.now
    this.#server = server
    if (remaining > 0) this.#wait(remaining)
    else this.state = 'dialling'
  }

  answered(): void {
    this.state = 'open'
    this.due = Infinity
    this.#connected = this.now
    if (this.outcomes[this.#life] === 'pending') this.outcomes[this.#life] = 'opened'
    this.#tell('connect')
    this.#happen()
  }

  refused(end: End): void {
    const life = this.#life
    this.state = 'failed'
    this.due = Infinity
    this.#tell('connectError')
    if (this.outcomes[life] === 'pending' && life !== this.#life) this.outcomes[life] = 'rejected'
    if (life !== this.#life) return
    if (this.#stopped === undefined) this.#next({ ...end, code: 1006 })
    else this.#end(this.#stopped)
  }

  wake(): void {
    if (this.state === 'waiting') this.due = Math.min(this.due, Math.max(this.now, this.#soonest))
  }

  lost(end: End): void {
    const life = this.#life
    this.state = 'lost'
    if (this.now - this.#connected >= 10_000) this.#count = 0
    this.#tell('close', end.code)
    if (life !== this.#life) return
    if (this.#stopped === undefined) this.#next(end)
    else this.#end(end.code)
  }

  do(deed: Deed): void {
    this.#react(deed)
    this.#happen()
  }

  #react(deed: Deed): void {
    if (deed === 'open') this.#open()
    if (deed === 'abort') this.#stop(1006)
    if (deed === 'close') this.#stop(CLOSE)
    if (this.state !== 'open') return
    if (deed === 'close') this.#ending ??= { ...LOST, code: CLOSE }
    if (deed === 'closeConnection') this.#ending ??= { ...LOST, code: CLOSE_CONNECTION }
    if (deed === 'cut') this.#ending ??= LOST
  }

  /** Runs the course of what a deed began, when the listener that did it has returned. */
  #happen(): void {
    const end = this.#ending
    this.#ending = undefined
    if (end) this.lost(end)
  }

  #open(): void {
    const leaving = this.state === 'failed' || this.state === 'lost'
    const over = leaving && (!this.#policy.reconnect || this.#stopped !== undefined)
    if (this.state !== 'closed' && !over) {
      this.outcomes.push('rejected')
      this.#tell('connectError')
      return
    }
    this.#life = this.outcomes.push('pending') - 1
    this.#stopped = undefined
    this.#count = 0
    this.#until.clear()
    this.#attempt()
  }

  #attempt(): void {
    this.state = 'asking'
    this.#server = undefined
    this.#begun = this.now
    this.due = this.now + TIMEOUT
    this.#tell('asked')
  }

  #stop(code: number): void {
    if (this.state === 'closed') return
    if (['open', 'lost', 'failed'].includes(this.state)) this.#stopped ??= code
    else this.#end(code)
  }

  #next({ code, again, asked }: End): void {
    const { reconnect, attempts } = this.#policy
    if (!reconnect || !again || this.#count >= attempts) {
      this.#end(code)
      return
    }
    this.#count++
    if (this.#server === undefined) {
      this.#wait(asked)
    } else {
      this.#until.set(this.#server, this.now + asked)
      this.#wait(0)
    }
  }

  #wait(asked: number): void {
    this.state = 'waiting'
    this.due = this.now + this.#drawn(asked, asked + Math.min(30_000, 500 * 2 ** this.#count))
    this.#soonest = Math.max(this.#begun + 1_000, this.now + asked)
    this.#tell('retry', this.#count)
  }

  #end(code = 0): void {
    if (this.outcomes[this.#life] === 'pending') this.outcomes[this.#life] = 'rejected'
    this.state = 'closed'
    this.due = Infinity
    this.#tell('closed', code)
  }

  #tell(event: Event, detail: number | string = ''): void {
    this.story.push(`${event} ${detail}`.trim())
    if (this.trap?.event !== event) return
    const { deed } = this.trap
    this.trap = undefined
    this.#react(deed)
  }
}

/** A client as it is, in a world without a network, and what it tells. */
class World {
  readonly story: string[] = []
  readonly outcomes: string[] = []
  readonly delays: number[] = []
  trap: Trap | undefined
  sleepers = 0
  live = 0
  heardOfTheDead = 0
  #caller: DialCallbacks | undefined
  #peer: Transport | undefined
  #giveUrl: ((url: string) => void) | undefined
  #failUrl: ((error: Error) => void) | undefined
  #woken: () => void = () => {}
  #stop = new AbortController()
  readonly #client: WebsocketClient
  readonly #network: Network = {
    dial: (_, caller) => {
      this.#caller = caller
      return () => (this.#caller = undefined)
    },
    onWake: (callback) => {
      this.#woken = callback
      this.sleepers++
      return () => {
        this.sleepers--
      }
    },
  }

  constructor({ reconnect, attempts }: Policy) {
    const policy = attempts === Infinity ? reconnect : reconnect && { attempts }
    const client = new WebsocketClient({ reconnect: policy, keepaliveTimeout: false })
    this.#client = client
    listen(client, 'connect', (connection) => this.#met(connection))
    listen(client, 'connectError', () => this.#tell('connectError'))
    listen(client, 'retry', ({ attempt, delay }) => {
      this.delays.push(delay)
      this.#tell('retry', attempt)
    })
    listen(client, 'closed', ({ code }) => this.#tell('closed', code))
  }

  get dialling(): boolean {
    return this.#caller !== undefined
  }

  answer(): void {
    const [here, there] = memoryEnds()
    const quiet = (): void => {}
    const closed = (): void => {
      this.live--
    }
    const told = {
      onMessage: quiet,
      onPing: quiet,
      onPong: quiet,
      onFlushed: quiet,
      onPeerClose: quiet,
    }
    here.start({ ...told, onInvalid: quiet, onClosed: closed } satisfies TransportReceiver)
    assert.equal(this.live++, 0, 'one connection at a time')
    this.#peer = here
    const caller = this.#caller
    this.#caller = undefined
    caller?.onOpen(there)
  }

  refuse({ status, text = '' }: End): void {
    const caller = this.#caller
    this.#caller = undefined
    caller?.onError(new ConnectError('refused', { status, headers: { 'retry-after': text } }))
  }

  giveUrl(url: string): void {
    this.#giveUrl?.(url)
  }

  failUrl(): void {
    this.#failUrl?.(new TypeError('fetch failed'))
  }

  speak(): void {
    this.#peer?.send('hello')
  }

  lose({ code = 1006, text = '' }: End): void {
    if (code === 1006) this.#peer?.terminate()
    else this.#peer?.close({ code, description: text })
  }

  wake(): void {
    this.#woken()
  }

  do(deed: Deed): void {
    const { connection } = this.#client
    if (deed === 'open') this.#open()
    if (deed === 'close') void this.#client.close(CLOSE)
    if (deed === 'abort') this.#stop.abort()
    if (deed === 'closeConnection' && connection) connection.close(CLOSE_CONNECTION)
    if (deed === 'cut' && connection) cut(connection)
  }

  #open(): void {
    const stop = new AbortController()
    const mine = this.outcomes.push('pending') - 1
    const settled = (outcome: string) => () => {
      this.outcomes[mine] = this.outcomes[mine] === 'pending' ? outcome : 'settled twice'
    }
    const asked = (): Promise<string> => {
      this.#stop = stop // it is the life of this one
      this.#tell('asked')
      return new Promise((resolve, reject) => {
        this.#giveUrl = resolve
        this.#failUrl = reject
      })
    }
    this.#client
      [OPEN_WITH](this.#network, asked, stop.signal)
      .then(settled('opened'), settled('rejected'))
  }

  #met(connection: WebsocketConnection): void {
    let dead = false
    listen(connection, 'message', () => {
      if (dead || connection !== this.#client.connection) this.heardOfTheDead++
    })
    listen(connection, 'close', ({ code }: CloseReason) => {
      dead = true
      this.#tell('close', code)
    })
    this.#tell('connect')
  }

  #tell(event: Event, detail: number | string = ''): void {
    this.story.push(`${event} ${detail}`.trim())
    if (this.trap?.event !== event) return
    const { deed } = this.trap
    this.trap = undefined
    this.do(deed)
  }
}

/** The timers that run, of the virtual clock. */
const running = new Set<unknown>()

function startClock(): void {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] })
  const { setTimeout: start, clearTimeout: clear } = globalThis
  mock.method(globalThis, 'setTimeout', (callback: () => void, delay: number) => {
    const timer: unknown = start(() => {
      running.delete(timer)
      callback()
    }, delay)
    running.add(timer)
    return timer
  })
  mock.method(globalThis, 'clearTimeout', (timer: NodeJS.Timeout | undefined) => {
    running.delete(timer)
    clear(timer)
  })
  mock.method(performance, 'now', () => Date.now())
}

/** One life, or several, as the dice have it. */
async function live(roll: () => number): Promise<void> {
  const pick = <Value>(values: readonly Value[]): Value => {
    const value = values[Math.floor(roll() * values.length)]
    assert.ok(value !== undefined)
    return value
  }
  const policy: Policy = { reconnect: roll() < 0.9, attempts: pick([Infinity, Infinity, 1, 3]) }
  const world = new World(policy)
  const model = new Model(policy, (least, most) => {
    const delay = world.delays.shift() ?? NaN
    assert.ok(delay >= least && delay <= most, `a delay of ${delay} from ${least} to ${most}`)
    return delay
  })
  model.now = Date.now()
  const script: string[] = []

  const happen = async (what: string, real: () => void, told: () => void): Promise<void> => {
    script.push(what)
    real()
    await turn()
    told()
    try {
      assert.deepEqual(world.story, model.story)
      assert.deepEqual(world.outcomes, model.outcomes)
      assert.equal(world.live, model.state === 'open' ? 1 : 0)
      assert.equal(world.dialling, model.state === 'dialling')
      assert.equal(world.sleepers, model.state === 'closed' ? 0 : 1)
      assert.equal(running.size, ['closed', 'open'].includes(model.state) ? 0 : 1)
      assert.equal(world.heardOfTheDead, 0)
    } catch (cause) {
      throw new Error(`after ${script.join(', ')}: ${String(cause)}`, { cause })
    }
  }
  const act = (deed: Deed): Promise<void> =>
    happen(
      deed,
      () => world.do(deed),
      () => model.do(deed),
    )
  const pass = async (time: number): Promise<void> => {
    const until = model.now + time
    while (model.now < until) {
      const now = Math.min(until, Math.max(model.due, model.now + 1))
      const step = now - model.now
      await happen(
        `${step} ms`,
        () => mock.timers.tick(step),
        () => model.timePasses(now),
      )
    }
  }
  const respond = async (): Promise<void> => {
    if (model.state === 'asking' && roll() < 0.8) {
      const server = pick(servers)
      await happen(
        server,
        () => world.giveUrl(server),
        () => model.urlGiven(server),
      )
    } else if (model.state === 'asking') {
      await happen(
        'no url',
        () => world.failUrl(),
        () => model.refused({ again: true, asked: 0 }),
      )
    } else if (model.state === 'dialling' && roll() < 0.6) {
      await happen(
        'answer',
        () => world.answer(),
        () => model.answered(),
      )
    } else if (model.state === 'dialling') {
      const end = pick(refusals)
      await happen(
        `refusal ${end.status}`,
        () => world.refuse(end),
        () => model.refused(end),
      )
    } else if (model.state === 'open' && roll() < 0.6) {
      const end = pick(losses)
      const real = (): void => {
        world.speak()
        world.lose(end)
      }
      await happen(`loss ${end.code}`, real, () => model.lost(end))
    }
  }

  const late = (): Promise<void> =>
    happen(
      'a url too late',
      () => world.giveUrl(servers[0]),
      () => {},
    )

  await act('open')
  for (let step = 0; step < STEPS; step++) {
    const dice = roll()
    if (dice < 0.05 && model.state !== 'asking') await late()
    else if (dice < 0.5) await respond()
    else if (dice < 0.72) await pass(pick([1, 300, 999, 1_000, 5_000, 10_000, 31_000]))
    else if (dice < 0.82) {
      await happen(
        'wake',
        () => world.wake(),
        () => model.wake(),
      )
    } else if (dice < 0.92) {
      const trap: Trap = { event: pick(events), deed: pick(deeds) }
      script.push(`in ${trap.event}: ${trap.deed}`)
      world.trap = model.trap = trap
    } else await act(pick(deeds))
  }
  world.trap = model.trap = undefined
  await act('close')
  assert.equal(model.state, 'closed')
  assert.ok(!model.outcomes.includes('pending'))
}

test(`${SEQUENCES} random lives of a client go as the table says`, async (t) => {
  const first = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31))
  t.diagnostic(`SEED=${first}`)
  startClock()
  t.after(() => {
    mock.timers.reset()
    mock.restoreAll()
  })
  for (let seed = first; seed < first + SEQUENCES; seed++) {
    try {
      await live(seeded(seed))
    } catch (cause) {
      throw new Error(`SEED=${seed} SEQUENCES=1 replays this`, { cause })
    }
  }
})
