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

/** The first member asks for a broadcast; once everybody has it, for the next. */
export class FanoutLoad extends Load {
  readonly #members: readonly Peer[]
  readonly #caller: Peer
  readonly #call: Buffer
  readonly #inFlight: number
  /** For each broadcast under way how many have yet to hear it, in a ring. */
  readonly #waiting: Int32Array

  private constructor(members: readonly Peer[], caller: Peer, call: Buffer, inFlight: number) {
    super()
    this.#members = members
    this.#caller = caller
    this.#call = call
    this.#inFlight = inFlight
    this.#waiting = new Int32Array(inFlight).fill(members.length)
    for (const member of members) {
      let next = 0 // where the broadcast that it hears next has its place in the ring
      member.heard = (messages) => {
        for (let i = 0; i < messages; i++) {
          this.#heard(next)
          next = (next + 1) % inFlight
        }
      }
      member.lost = (error) => this.fail(error)
      member.count()
    }
  }

  /** Connects to a server, and checks once that all members hear what one says. */
  static async connect(
    way: Way,
    { text, inFlight, connections }: FanoutShape,
  ): Promise<FanoutLoad> {
    const { wrap } = way.dialect ?? plain
    const payload = Buffer.from(wrap(text))
    const call = maskedFrame(TEXT, payload)
    const members = await Peer.openAll(connections, way)
    const [caller] = members
    if (!caller) throw new Error('there are no members')
    caller.write(call)
    for (const member of members) {
      const said = read(await member.take(), way.deflate)
      if (!payload.equals(said)) throw new Error(`broadcast ${said}`)
    }
    return new FanoutLoad(members, caller, call, inFlight)
  }

  override close(): void {
    for (const member of this.#members) member.close()
  }

  protected override begin(): void {
    for (let i = 0; i < this.#inFlight; i++) this.#ask()
  }

  #ask(): void {
    this.pending++
    this.#caller.write(this.#call)
  }

  #heard(place: number): void {
    this.done++
    const waiting = (this.#waiting[place] ?? 0) - 1
    this.#waiting[place] = waiting
    if (waiting > 0) return
    this.#waiting[place] = this.#members.length
    this.pending--
    if (this.running) this.#ask()
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
