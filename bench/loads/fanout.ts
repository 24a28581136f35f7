import { constants, inflateRawSync } from 'node:zlib'
import { plain } from '../wire/dialects.ts'
import { maskedFrame, TEXT, type Frame } from '../wire/frames.ts'
import { Peer, type Way } from '../wire/peer.ts'
import { Load } from './load.ts'

/** How messages are broadcast. */
export interface FanoutShape {
  readonly text: string
  /** How many broadcasts are under way. */
  readonly inFlight: number
  readonly connections: number
}

const COMPRESSED = TEXT | 0x40
const SYNC_TAIL = Buffer.from([0, 0, 0xff, 0xff]) // what a deflated message leaves out, RFC 7692 §7.2.1

/**
 * The first member, or a client of another node, asks for a broadcast, and for the next one once
 * every member has it. It asks in one write for as many as a chunk completes.
 */
export class FanoutLoad extends Load {
  readonly #members: readonly Peer[]
  readonly #caller: Peer
  readonly #calls: Buffer // one after the other, as many as may be under way
  readonly #callLength: number
  readonly #inFlight: number
  /** For each broadcast under way how many have yet to hear it, in a ring. */
  readonly #waiting: Int32Array

  private constructor(members: readonly Peer[], caller: Peer, call: Buffer, inFlight: number) {
    super()
    this.#members = members
    this.#caller = caller
    this.#calls = Buffer.concat(Array.from({ length: inFlight }, () => call))
    this.#callLength = call.length
    this.#inFlight = inFlight
    this.#waiting = new Int32Array(inFlight).fill(members.length)
    for (const member of members) {
      let next = 0 // where the broadcast that it hears next has its place in the ring
      member.heard = (messages) => {
        let completed = 0
        for (let i = 0; i < messages; i++) {
          if (this.#heard(next)) completed++
          next = (next + 1) % inFlight
        }
        this.#completed(completed)
      }
      member.lost = (error) => this.fail(error)
      member.count()
    }
  }

  /** Connects to a server, and checks once that all members hear what one says. */
  static async connect(
    way: Way,
    { text, inFlight, connections }: FanoutShape,
    from?: Way,
  ): Promise<FanoutLoad> {
    const { wrap, heard = wrap } = way.dialect ?? plain
    const payload = Buffer.from(heard(text))
    const call = maskedFrame(TEXT, Buffer.from(wrap(text)))
    const members = await Peer.openAll(connections, way)
    const caller = from ? await Peer.open(from) : members[0]
    if (!caller) throw new Error('there are no members')
    caller.write(call)
    for (const member of members) {
      const said = read(await member.take(), way.deflate !== undefined)
      if (!payload.equals(said)) throw new Error(`broadcast ${said}`)
    }
    if (from) caller.count()
    return new FanoutLoad(members, caller, call, inFlight)
  }

  override close(): void {
    for (const member of [this.#caller, ...this.#members]) member.close()
  }

  protected override begin(): void {
    this.#ask(this.#inFlight)
  }

  #ask(broadcasts: number): void {
    this.pending += broadcasts
    this.#caller.write(this.#calls.subarray(0, broadcasts * this.#callLength))
  }

  /** Counts a delivery. Returns whether every member now has the broadcast. */
  #heard(place: number): boolean {
    this.done++
    const waiting = (this.#waiting[place] ?? 0) - 1
    this.#waiting[place] = waiting || this.#members.length
    return waiting === 0
  }

  #completed(broadcasts: number): void {
    if (broadcasts === 0) return
    this.pending -= broadcasts
    if (this.running) this.#ask(broadcasts)
    else this.finish()
  }
}

function read({ first, payload }: Frame, deflate = false): Buffer {
  if (!deflate) return payload
  if (first !== COMPRESSED) throw new Error('agreed to permessage-deflate, but does not compress')
  return inflateRawSync(Buffer.concat([payload, SYNC_TAIL]), {
    finishFlush: constants.Z_SYNC_FLUSH,
  })
}
