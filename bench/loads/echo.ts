import { plain } from '../wire/dialects.ts'
import { frame, maskedFragments, maskedFrame, TEXT } from '../wire/frames.ts'
import { Peer, type Way } from '../wire/peer.ts'
import { Load } from './load.ts'
import { textOf } from './texts.ts'

/** How messages are echoed. */
export interface EchoShape {
  /** How long a message is. */
  readonly bytes: number
  /** How many messages each connection has under way. */
  readonly inFlight: number
  readonly connections: number
  /** How long the fragments are that a message is sent in. Default: it is sent whole. */
  readonly fragments?: number
}

/** Each reply brings one new message, and all the replies of a chunk one write. */
export class EchoLoad extends Load {
  readonly #peers: readonly Peer[]
  readonly #frames: Buffer // one after the other, as many as may be under way on a connection
  readonly #frameLength: number
  readonly #inFlight: number

  private constructor(peers: readonly Peer[], frame: Buffer, inFlight: number) {
    super()
    this.#peers = peers
    this.#frames = Buffer.concat(Array.from({ length: inFlight }, () => frame))
    this.#frameLength = frame.length
    this.#inFlight = inFlight
    for (const peer of peers) {
      peer.heard = (messages) => this.#heard(peer, messages)
      peer.lost = (error) => this.fail(error)
      peer.count()
    }
  }

  /** Connects to a server, and checks once for each connection that it echoes. */
  static async connect(
    way: Way,
    { bytes, inFlight, connections, fragments = Infinity }: EchoShape,
  ): Promise<EchoLoad> {
    const { wrap, heard = wrap } = way.dialect ?? plain
    const text = textOf(bytes)
    const message = sent(Buffer.from(wrap(text)), fragments)
    const wanted = frame(TEXT, Buffer.from(heard(text)))
    const peers = await Peer.openAll(connections, way)
    for (const peer of peers) {
      peer.write(message)
      const { first, payload: echo } = await peer.take()
      if (!wanted.equals(frame(first, echo))) throw new Error(`echoed ${echo}`)
    }
    return new EchoLoad(peers, message, inFlight)
  }

  override close(): void {
    for (const peer of this.#peers) peer.close()
  }

  protected override begin(): void {
    for (const peer of this.#peers) this.#send(peer, this.#inFlight)
  }

  #send(peer: Peer, messages: number): void {
    this.pending += messages
    peer.write(this.#frames.subarray(0, messages * this.#frameLength))
  }

  #heard(peer: Peer, messages: number): void {
    this.pending -= messages
    this.done += messages
    if (this.running) this.#send(peer, messages)
    else this.finish()
  }
}

function sent(payload: Buffer, most: number): Buffer {
  return payload.length > most ? maskedFragments(payload, most) : maskedFrame(TEXT, payload)
}
