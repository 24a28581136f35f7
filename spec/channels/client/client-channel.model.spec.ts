// Random lives of a client's channel beside a small model of it: the table of
// docs/how-to/channel-client.md. Replay one with SEED=…, run more with SEQUENCES=….
import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { listen, WebsocketServer, type WebsocketConnection } from 'simplewebsockets'
import { ChannelError, ChannelClient, type Channel } from 'simplewebsockets/channels'
import { cut, link } from 'simplewebsockets/testing'
import { seeded } from '../../support/random.ts'

const SEQUENCES = Number(process.env.SEQUENCES ?? 2_000)
const STEPS = 40
const TIMEOUT = 10_000
const REJOIN = 1_500
const RECONNECT = 700
const TOPIC = 'room:1'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

interface ModelPush {
  outcome: 'waiting' | 'sent' | 'ok' | 'error' | 'timeout' | 'closed' | 'aborted'
  ref: string
  readonly due: number
  readonly needsReply: boolean
}

/** The channel as the table has it: nothing of sockets, promises or timers. */
class Model {
  state = 'closed'
  isOver = false
  connected = true
  /** Whether `rejoin.when` leaves the channel. */
  leavesInWhen = false
  joinRef: string | undefined
  leaveRef: string | undefined
  now = 0
  readonly frames: unknown[][] = []
  readonly pushes: ModelPush[] = []
  readonly #rejoins: boolean
  #number = 0
  #late = Infinity
  #again = Infinity
  #connects = Infinity

  constructor(rejoins: boolean) {
    this.#rejoins = rejoins
  }

  get due(): number {
    const pending = this.pushes.filter(({ outcome }) => isPending(outcome))
    return Math.min(this.#late, this.#again, this.#connects, ...pending.map(({ due }) => due))
  }

  timePasses(now: number): void {
    this.now = now
    for (const push of this.pushes) {
      if (isPending(push.outcome) && push.due <= now) push.outcome = 'timeout'
    }
    if (this.#late <= now) this.#unanswered()
    if (this.#again <= now) this.#begin()
    if (this.#connects <= now) this.#connected()
  }

  join(): void {
    if (this.isOver || ['joining', 'joined', 'leaving'].includes(this.state)) return
    this.#begin()
  }

  push(timeout: number, needsReply: boolean): void {
    const isRefused = this.isOver || this.state === 'leaving'
    const push: ModelPush = {
      outcome: isRefused ? 'closed' : 'waiting',
      ref: '',
      due: this.now + timeout,
      needsReply,
    }
    this.pushes.push(push)
    if (this.state === 'joined') this.#send(push)
  }

  aborted(push: ModelPush): void {
    if (isPending(push.outcome)) push.outcome = 'aborted'
  }

  leave(): void {
    if (this.isOver || this.state === 'leaving') return
    if (this.joinRef === undefined || !this.connected) {
      this.#finish()
      return
    }
    this.state = 'leaving'
    this.#again = Infinity
    this.#late = this.now + TIMEOUT
    this.#close('waiting')
    this.leaveRef = this.#say('phx_leave', this.joinRef)
  }

  accepted(): void {
    this.state = 'joined'
    this.#late = Infinity
    for (const push of this.pushes) if (push.outcome === 'waiting') this.#send(push)
  }

  /** Refused, or crashed. */
  failed(): void {
    if (this.state === 'leaving') {
      this.#finish()
      return
    }
    this.state = 'errored'
    this.joinRef = undefined
    this.#late = Infinity
    this.#close('sent')
    if (!this.#rejoins || this.leavesInWhen) this.#finish()
    else if (this.connected) this.#again = this.now + REJOIN
  }

  answered(push: ModelPush, outcome: 'ok' | 'error'): void {
    push.outcome = outcome
  }

  ended(): void {
    this.#finish()
  }

  /** The connection is lost; `forGood`: the client gives up. */
  dropped(forGood: boolean): void {
    this.connected = false
    this.#connects = forGood ? Infinity : this.now + RECONNECT
    this.#again = Infinity
    this.joinRef = undefined
    if (this.state === 'leaving' || (forGood && this.state !== 'closed')) this.#finish()
    if (this.state !== 'joined') return
    this.state = 'errored'
    this.#close('sent')
    if (!this.#rejoins) this.#finish()
  }

  #connected(): void {
    this.connected = true
    this.#connects = Infinity
    if (this.state === 'errored') this.#begin()
    else if (this.state === 'joining') this.#ask()
  }

  #begin(): void {
    this.state = 'joining'
    this.#again = Infinity
    this.#late = this.now + TIMEOUT
    this.#ask()
  }

  #ask(): void {
    if (!this.connected) return
    this.joinRef = String(++this.#number)
    this.frames.push([this.joinRef, this.joinRef, TOPIC, 'phx_join', {}])
  }

  #unanswered(): void {
    this.#late = Infinity
    if (this.state === 'leaving') {
      this.#finish()
      return
    }
    if (this.joinRef !== undefined) this.#say('phx_leave', this.joinRef)
    this.failed()
  }

  #send(push: ModelPush): void {
    push.outcome = push.needsReply ? 'sent' : 'ok'
    push.ref = this.#say('evt', this.joinRef)
  }

  #say(event: string, joinRef: string | undefined): string {
    const ref = String(++this.#number)
    this.frames.push([joinRef, ref, TOPIC, event, {}])
    return ref
  }

  #close(which: ModelPush['outcome']): void {
    for (const push of this.pushes) if (push.outcome === which) push.outcome = 'closed'
  }

  #finish(): void {
    this.state = 'closed'
    this.isOver = true
    this.joinRef = undefined
    this.#late = this.#again = Infinity
    this.#close('sent')
    this.#close('waiting')
  }
}

function isPending(outcome: string): boolean {
  return outcome === 'waiting' || outcome === 'sent'
}

/** A channel as it is, and a server that says what it is told to. */
class World {
  readonly frames: unknown[][] = []
  readonly outcomes: string[] = []
  joins = 0
  closes = 0
  ends = 0
  leavesInWhen = false
  reconnects = true
  /** The controllers that abort each push. */
  readonly stops: AbortController[] = []
  readonly client: ChannelClient
  readonly room: Channel
  #there: WebsocketConnection | undefined

  constructor(rejoins: boolean) {
    this.client = new ChannelClient({
      keepaliveTimeout: false,
      heartbeat: false,
      timeout: TIMEOUT,
      rejoin: rejoins && { delay: () => REJOIN, when: () => this.#isToRejoin() },
      reconnect: { delay: () => RECONNECT, when: () => this.reconnects },
    })
    this.room = this.client.channel(TOPIC)
  }

  async open(): Promise<void> {
    const server = new WebsocketServer({ keepaliveTimeout: false })
    listen(server, 'client', (connection) => {
      this.#there = connection
      listen(connection, 'message', (message) => {
        this.frames.push(JSON.parse(String(message)) as unknown[])
      })
    })
    listen(this.room, 'close', () => this.closes++)
    listen(this.client, 'closed', () => this.ends++)
    await link(server, this.client)
  }

  join(): void {
    this.joins++
    const settled = (): number => this.joins--
    this.room.join().then(settled, settled)
  }

  push(timeout: number, reply: boolean): void {
    const stop = new AbortController()
    this.stops.push(stop)
    const mine = this.outcomes.push('pending') - 1
    const settled = (outcome: string): void => {
      this.outcomes[mine] = this.outcomes[mine] === 'pending' ? outcome : 'settled twice'
    }
    this.room.push('evt', {}, { timeout, reply, signal: stop.signal }).then(
      () => settled('ok'),
      (error: unknown) => {
        if (error === 'aborted') settled('aborted')
        else settled(error instanceof ChannelError ? String(error.status) : 'closed')
      },
    )
  }

  say(...frame: unknown[]): void {
    this.#there?.send(JSON.stringify(frame))
  }

  drop(forGood: boolean): void {
    this.reconnects = !forGood
    if (this.#there) cut(this.#there)
  }

  #isToRejoin(): true {
    if (this.leavesInWhen) void this.room.leave()
    return true
  }
}

async function live(roll: () => number): Promise<number> {
  const pick = <Value>(values: readonly Value[]): Value => {
    const value = values[Math.floor(roll() * values.length)]
    assert.ok(value !== undefined)
    return value
  }
  const rejoins = roll() < 0.8
  const world = new World(rejoins)
  const model = new Model(rejoins)
  world.leavesInWhen = model.leavesInWhen = roll() < 0.05
  model.now = Date.now()
  await world.open()
  const script: string[] = []

  const happen = async (what: string, real: () => void, told: () => void): Promise<void> => {
    script.push(what)
    real()
    await turn()
    told()
    try {
      assert.equal(world.room.state, model.state)
      assert.deepEqual(world.frames, model.frames)
      const outcomes = model.pushes.map(({ outcome }) => (isPending(outcome) ? 'pending' : outcome))
      assert.deepEqual(world.outcomes, outcomes)
      assert.equal(world.closes, model.isOver ? 1 : 0)
      assert.equal(world.client.isOpen, model.connected)
      assert.equal(world.ends, world.reconnects ? 0 : 1)
      if (model.isOver) assert.equal(world.joins, 0)
    } catch (cause) {
      throw new Error(`after ${script.join(', ')}: ${String(cause)}`, { cause })
    }
  }
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
  const reply = (joinRef: unknown, ref: unknown, status: string): void =>
    world.say(joinRef, ref, TOPIC, 'phx_reply', { status, response: {} })

  const respond = async (): Promise<void> => {
    const { joinRef, leaveRef, state } = model
    const sent = model.pushes.filter(({ outcome }) => outcome === 'sent')
    if (state === 'leaving' && roll() < 0.5) {
      await happen(
        'left',
        () => reply(joinRef, leaveRef, 'ok'),
        () => model.ended(),
      )
    } else if (state === 'joining' && joinRef !== undefined) {
      const accepts = roll() < 0.7
      await happen(
        accepts ? 'accept' : 'refuse',
        () => reply(pick([joinRef, null]), joinRef, accepts ? 'ok' : 'error'),
        () => (accepts ? model.accepted() : model.failed()),
      )
    } else if (sent.length > 0) {
      const push = pick(sent)
      const outcome = pick(['ok', 'error'] as const)
      await happen(
        `answer ${push.ref} ${outcome}`,
        () => {
          reply(pick([joinRef, null]), push.ref, outcome)
          reply(joinRef, push.ref, 'error') // a second one
        },
        () => model.answered(push, outcome),
      )
    }
  }
  const fail = async (): Promise<void> => {
    const { joinRef } = model
    if (joinRef === undefined) return
    const isCrash = roll() < 0.7
    await happen(
      isCrash ? 'crash' : 'end',
      () => world.say(joinRef, joinRef, TOPIC, isCrash ? 'phx_error' : 'phx_close', {}),
      () => (isCrash ? model.failed() : model.ended()),
    )
  }
  const stale = (): Promise<void> =>
    happen(
      'stale frames',
      () => {
        const settled = model.pushes.filter(({ outcome }) => !isPending(outcome))
        for (const { ref } of settled) if (ref !== '') reply(null, ref, 'error')
        reply('0', '0', 'error')
        world.say('0', '0', TOPIC, 'phx_error', {})
        world.say('0', '0', TOPIC, 'phx_close', {})
        world.say(model.joinRef ?? '0', '0', 'room:2', 'phx_close', {})
      },
      () => {},
    )

  for (let step = 0; step < STEPS; step++) {
    const chance = roll()
    if (chance < 0.3) await respond()
    else if (chance < 0.5 && (model.state !== 'closed' || model.isOver)) {
      const timeout = pick([300, 2_003, 7_001, 25_013])
      const needsReply = roll() < 0.8
      await happen(
        `push ${timeout}${needsReply ? '' : ' without a reply'}`,
        () => world.push(timeout, needsReply),
        () => model.push(timeout, needsReply),
      )
    } else if (chance < 0.65) {
      await happen(
        'join',
        () => world.join(),
        () => model.join(),
      )
    } else if (chance < 0.82) await pass(pick([1, 211, 700, 1_500, 3_001, 10_000]))
    else if (chance < 0.87) await fail()
    else if (chance < 0.93 && model.connected) {
      const forGood = roll() < 0.05
      await happen(
        forGood ? 'drop for good' : 'drop',
        () => world.drop(forGood),
        () => model.dropped(forGood),
      )
    } else if (chance < 0.95 && model.pushes.length > 0) {
      const index = Math.floor(roll() * model.pushes.length)
      await happen(
        `abort push ${index}`,
        () => world.stops[index]?.abort('aborted'),
        () => model.pushes[index] && model.aborted(model.pushes[index]),
      )
    } else if (chance < 0.98) await stale()
    else {
      await happen(
        'leave',
        () => void world.room.leave(),
        () => model.leave(),
      )
    }
  }
  await happen(
    'leave',
    () => void world.room.leave(),
    () => model.leave(),
  )
  await pass(TIMEOUT + 1)
  assert.ok(!world.outcomes.includes('pending'))
  await world.client.close()
  return world.outcomes.length
}

test(`${SEQUENCES} random lives of a channel go as the table says`, async (t) => {
  const first = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31))
  t.diagnostic(`SEED=${first}`)
  mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] })
  mock.method(performance, 'now', () => Date.now())
  t.after(() => {
    mock.timers.reset()
    mock.restoreAll()
  })
  let pushes = 0
  for (let seed = first; seed < first + SEQUENCES; seed++) {
    try {
      pushes += await live(seeded(seed))
    } catch (cause) {
      throw new Error(`SEED=${seed} SEQUENCES=1 replays this: ${String(cause)}`, { cause })
    }
  }
  t.diagnostic(`${SEQUENCES} sequences: ${pushes} pushes, each settled once`)
})
