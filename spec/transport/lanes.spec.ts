import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { CloseReason } from '../../lib/close.ts'
import { Message, type Data } from '../../lib/message.ts'
import type { ConnectionOptions } from '../../lib/options/connection.ts'
import * as lane from '../../lib/transport/lane.ts'
import type { Receiver, Transport } from '../../lib/transport/transport.ts'
import * as reference from '../../lib/transport/reference.ts'
import { below, noise, pick, seeded, type Random } from '../random.ts'
import { Hostile } from './hostile.ts'
import { call, digest, serve, unmasked, type End, type Lane, type Wire } from './wire.ts'

// A run is repeated with the seed it printed, and goes on for longer: SEED=1 ROUNDS=1, MINUTES=10.
const { SEED, ROUNDS, MINUTES } = process.env
const seed = Number(SEED ?? Date.now() % 1e9)
const rounds = Number(ROUNDS ?? Infinity)
const duration = MINUTES === undefined ? 3_000 : Number(MINUTES) * 60_000
const MANY = 50 // rounds between two looks at the clock

const SHORT = [0, 5, 41, 42, 64, 125, 126, 300] as const

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** What happens to an end, from either side. */
type Act =
  | { readonly kind: 'bring'; readonly chunk: Buffer }
  | { readonly kind: 'send'; readonly data: Data | Message }
  | { readonly kind: 'ping'; readonly payload: Uint8Array }
  | { readonly kind: 'close'; readonly reason: CloseReason }
  | { readonly kind: 'pause' | 'resume' | 'notify' | 'cut' }
  | { readonly kind: 'fin' | 'reset' | 'gone' | 'stall' | 'flow' | 'turn' }

/** A whole story: what is set, what comes, and what is done about it. */
interface Script {
  readonly side: 'server' | 'client'
  readonly options: ConnectionOptions
  /** Comes with the handshake. */
  readonly head: Buffer
  readonly acts: readonly Act[]
  /** What is done as soon as so many things were told, by their number. */
  readonly reactions: ReadonlyMap<number, Act>
}

/** Draws what this side may do. */
function own(random: Random, size: number): Act {
  const text = pick(random, ['x', 'ü€']).repeat(size).slice(0, size)
  const data = random() < 0.5 ? text : noise(random, size)
  return pick<Act>(random, [
    { kind: 'send', data },
    { kind: 'send', data },
    { kind: 'send', data: new Message(data) },
    { kind: 'ping', payload: noise(random, below(random, 126)) },
    { kind: 'pause' },
    { kind: 'pause' },
    { kind: 'resume' },
    { kind: 'notify' },
    { kind: 'close', reason: { code: 4000, description: text.slice(0, 40) } },
    ...(random() < 0.3 ? ([{ kind: 'cut' }] as const) : []),
  ])
}

/** Draws what the network may do. */
function fate(random: Random): Act {
  return { kind: pick(random, ['stall', 'stall', 'flow', 'flow', 'flow', 'fin', 'reset', 'gone']) }
}

function script(random: Random): Script {
  const side = pick<Script['side']>(random, ['server', 'client'])
  const maxReceivedMessageSize = pick(random, [50, 1_000, 1_000, 70_000])
  const options: ConnectionOptions = {
    maxReceivedMessageSize,
    maxReceivedFrameSize: pick(random, [false, false, false, 100]),
    binary: random() < 0.2,
    useNagleAlgorithm: random() < 0.2,
  }
  const peer = new Hostile(random, side === 'server', maxReceivedMessageSize)
  const badness = pick(random, [0, 0.05, 0.3])
  const chunks = peer.chunks(peer.frames(below(random, 10), badness))
  const head = random() < 0.3 ? chunks.shift() : undefined
  const acts: Act[] = []
  const business = pick(random, [0, 0.1, 0.5])
  for (const chunk of chunks) {
    acts.push({ kind: 'bring', chunk })
    while (random() < business) {
      const size = pick(random, [...SHORT, 5_461, 20_000, 70_000])
      const act = own(random, size)
      // Much that waits for the end of a turn keeps only the reference from answering every ping.
      if (size > 5_461) acts.push({ kind: 'turn' }, act, { kind: 'turn' })
      else acts.push(act)
    }
    if (random() < business / 10) {
      acts.push({ kind: 'turn' }, fate(random), { kind: 'turn' })
    }
    if (random() < (chunks.length > 20 ? 0.1 : 0.5)) acts.push({ kind: 'turn' })
  }
  if (random() < 0.3) acts.push({ kind: pick(random, ['fin', 'reset', 'gone']) })
  acts.push({ kind: 'turn' }, { kind: 'flow' }, { kind: 'resume' }, { kind: 'turn' })
  acts.push({ kind: 'fin' }, { kind: 'turn' }, { kind: 'gone' }, { kind: 'turn' })
  const reactions = new Map<number, Act>()
  while (random() < business) reactions.set(below(random, 20), own(random, pick(random, SHORT)))
  return { side, options, head: head ?? Buffer.alloc(0), acts, reactions }
}

/** Plays a script on one lane as a connection would, and writes down all that is seen of it. */
class Player implements Receiver {
  readonly story: string[] = []
  readonly #script: Script
  #end: End | undefined
  #open = true
  #over = false
  #told = 0
  #notified = false
  #left = false
  #lost = false

  constructor(script: Script) {
    this.#script = script
  }

  async play(on: Lane): Promise<string[]> {
    const { side, options, head, acts } = this.#script
    await (side === 'server' ? serve : call)(on, options, head, (end) => {
      this.#end = end
      end.transport.start(this)
    })
    await this.#settle()
    for (const act of acts) {
      if (act.kind === 'turn') await this.#settle()
      else this.#act(act)
    }
    this.story.push(`delay ${!this.#end?.wire.noDelay}`)
    return this.story
  }

  message(data: Data, size: number): void {
    assert.equal(
      Object.getPrototypeOf(data),
      typeof data === 'string' ? String.prototype : Uint8Array.prototype,
    )
    this.#tell(`message ${typeof data} ${data.length} ${digest(data)} ${size}`)
  }

  ping(payload: Uint8Array): void {
    this.#tell(`ping ${digest(payload)}`)
  }

  pong(payload: Uint8Array): void {
    this.#tell(`pong ${digest(payload)}`)
  }

  written(): void {
    this.#notified = false
    if (!this.#open || this.#left || this.#end?.wire.destroyed) return // then it means nothing
    this.#tell('written')
  }

  closing({ code, description }: CloseReason): void {
    this.#open = false
    this.#tell(`closing ${code} ${description}`)
  }

  invalid(reason: CloseReason, cause: unknown): void {
    const name = cause instanceof Error ? cause.constructor.name : String(cause)
    this.#tell(`invalid ${reason.code} ${reason.description} ${name}`)
    this.#act({ kind: 'close', reason })
  }

  closed({ code, description }: CloseReason): void {
    this.#open = false
    this.#over = true
    this.#tell(`closed ${code} ${description}`)
  }

  #tell(what: string): void {
    this.story.push(what)
    const reaction = this.#script.reactions.get(this.#told++)
    if (reaction) this.#act(reaction)
  }

  /** Lets happen what must, and looks at what became of it. */
  async #settle(): Promise<void> {
    for (let count = 0; count < 3; count++) await turn()
    if (!this.#end) return
    const { wire, transport } = this.#end
    // What was written in the turn in which the peer left may come or not.
    if (!this.#lost) this.story.push(`wrote ${unmasked(Buffer.concat(wire.written)).join(', ')}`)
    this.story.push(`ends ${wire.ends.at(-1)}`) // a FIN just before the end of all is no other end
    this.#lost = wire.destroyed
    wire.written = []
    if (this.#open && !this.#left) this.story.push(`buffers ${transport.bufferedAmount}`)
  }

  #lose(wire: Wire, how: 'fin' | 'reset' | 'gone'): void {
    this.#left = this.#lost = true
    if (how === 'fin') wire.finish()
    else wire.destroy(how === 'reset' ? new Error('reset') : undefined)
  }

  #notify(transport: Transport): void {
    if (!this.#notified) transport.notify()
    this.#notified = true
  }

  #resume(transport: Transport): void {
    if (this.#over) return
    this.#lost ||= this.#left // the end comes in one turn with what waited before it
    transport.resume()
  }

  #act(act: Act): void {
    if (!this.#end) return
    const { transport, wire } = this.#end
    if (act.kind === 'bring') wire.bring(act.chunk)
    else if (act.kind === 'fin' || act.kind === 'reset' || act.kind === 'gone')
      this.#lose(wire, act.kind)
    else if (act.kind === 'stall') wire.stall()
    else if (act.kind === 'flow') wire.flow()
    else if (act.kind === 'resume') this.#resume(transport)
    else if (this.#over) return
    else if (act.kind === 'cut') transport.cut()
    else if (!this.#open) return
    else if (act.kind === 'notify') this.#notify(transport)
    else if (act.kind === 'send') transport.send(act.data)
    else if (act.kind === 'ping') transport.ping(act.payload)
    else if (act.kind === 'pause') transport.pause()
    else if (act.kind === 'close') {
      this.#open = false
      transport.resume()
      transport.close(act.reason)
    }
  }
}

/** Is a script as somebody reads it who looks for what went wrong. */
function told({ side, acts, reactions }: Script): string {
  const list = acts.map((act) =>
    act.kind === 'bring' ? act.chunk.toString('hex').slice(0, 40) : act.kind,
  )
  const replies = [...reactions].map(([number, { kind }]) => `${number}: ${kind}`)
  return `${side}, ${list.join(' ')}; ${replies.join(', ')}`
}

test(`both lanes tell and write the same, seed ${seed}`, async (t) => {
  const until = Date.now() + duration
  let round = 0
  let seenInAll = 0
  for (; round < rounds && (round % MANY > 0 || Date.now() < until); round++) {
    const drawn = script(seeded(seed + round))
    const [expected, seen] = await Promise.all(
      [reference, lane].map((on) => new Player(drawn).play(on)),
    )
    seenInAll += seen?.length ?? 0
    assert.deepEqual(seen, expected, `SEED=${seed + round} ROUNDS=1: ${told(drawn)}`)
  }
  t.diagnostic(`${round} streams, ${seenInAll} things seen, seed ${seed}`)
})
