import { constants, deflateRawSync, inflateRawSync } from 'node:zlib'
import { maskedFrame, TEXT } from '../wire/frames.ts'
import { Peer, type Way } from '../wire/peer.ts'
import { Load } from './load.ts'

/** How compressed messages are echoed. */
export interface DeflateEchoShape {
  /** What is sent in turn, each compressed for itself. */
  readonly texts: readonly string[]
  /** How many messages each connection has under way: no more than there are texts. */
  readonly inFlight: number
  readonly connections: number
}

const COMPRESSED = TEXT | 0x40
const FLUSH = { finishFlush: constants.Z_SYNC_FLUSH }
const TAIL = Buffer.of(0, 0, 0xff, 0xff) // what a compressed message leaves out, RFC 7692 §7.2.1

/** Makes a frame with a text that is compressed for itself. */
export function compressedFrame(text: string): Buffer {
  return maskedFrame(COMPRESSED, deflateRawSync(text, FLUSH).subarray(0, -TAIL.length))
}

/** Each reply brings one new message. What is echoed is counted, and inflated only once. */
export class DeflateEchoLoad extends Load {
  readonly #peers: readonly Peer[]
  readonly #frames: Buffer // all of them, twice, one after the other
  readonly #offsets: readonly number[]
  readonly #inFlight: number
  readonly #next = new Map<Peer, number>()

  private constructor(peers: readonly Peer[], frames: readonly Buffer[], inFlight: number) {
    super()
    const twice = [...frames, ...frames]
    let end = 0
    this.#peers = peers
    this.#frames = Buffer.concat(twice)
    this.#offsets = [0, ...twice.map(({ length }) => (end += length))]
    this.#inFlight = inFlight
    for (const peer of peers) {
      peer.heard = (messages) => this.#heard(peer, messages)
      peer.lost = (error) => this.fail(error)
      peer.count()
    }
  }

  /** Connects to a server, and checks once for each connection that it echoes, compressed. */
  static async connect(
    way: Way,
    { texts, inFlight, connections }: DeflateEchoShape,
  ): Promise<DeflateEchoLoad> {
    const frames = texts.map(compressedFrame)
    const [text = '', frame = Buffer.alloc(0)] = [texts[0], frames[0]]
    const peers = await Peer.openAll(connections, { ...way, deflate: 'as browsers' })
    for (const peer of peers) {
      peer.write(frame)
      const { first, payload } = await peer.take()
      if (first !== COMPRESSED) throw new Error('agreed to compress, but does not')
      const echo = inflateRawSync(Buffer.concat([payload, TAIL]), FLUSH).toString()
      if (echo !== text) throw new Error(`echoed ${echo}`)
    }
    return new DeflateEchoLoad(peers, frames, inFlight)
  }

  override close(): void {
    for (const peer of this.#peers) peer.close()
  }

  protected override begin(): void {
    for (const peer of this.#peers) this.#send(peer, this.#inFlight)
  }

  #send(peer: Peer, messages: number): void {
    const count = (this.#offsets.length - 1) / 2
    const from = this.#next.get(peer) ?? 0
    this.pending += messages
    peer.write(this.#frames.subarray(this.#offsets[from], this.#offsets[from + messages]))
    this.#next.set(peer, (from + messages) % count)
  }

  #heard(peer: Peer, messages: number): void {
    this.pending -= messages
    this.done += messages
    if (this.running) this.#send(peer, messages)
    else this.finish()
  }
}
