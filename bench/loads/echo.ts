import { plain } from '../wire/dialects.ts'
import { frame, maskedFragments, maskedFrame, TEXT } from '../wire/frames.ts'
import { Peer, type Way } from '../wire/peer.ts'
import { Load } from './load.ts'
import { textOf } from './texts.ts'

const MAX_SHOWN = 60 // bytes

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

/** Sends frames in turn: each reply brings one new message, and all the replies of a chunk one write. */
export class EchoLoad extends Load {
  readonly #peers: readonly Peer[]
  readonly #frames: Buffer // all of them, twice, one after the other
  readonly #offsets: readonly number[]
  readonly #inFlight: number
  readonly #next = new Map<Peer, number>()

  /** `frames` are at least as many as are `inFlight` on each connection. */
  constructor(peers: readonly Peer[], frames: readonly Buffer[], inFlight: number) {
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

/** Connects to a server, and checks once for each connection that it echoes. */
export async function connectEcho(
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
    if (!wanted.equals(frame(first, echo))) throw new Error(`echoed ${shown(echo)}`)
  }
  const messages = Array.from({ length: inFlight }, () => message)
  return new EchoLoad(peers, messages, inFlight)
}

function sent(payload: Buffer, most: number): Buffer {
  return payload.length > most ? maskedFragments(payload, most) : maskedFrame(TEXT, payload)
}

/** Returns the beginning of what came, for a message. */
function shown(bytes: Uint8Array): string {
  return Buffer.from(bytes.subarray(0, MAX_SHOWN)).toString()
}
