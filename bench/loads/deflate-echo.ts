import { constants, deflateRawSync, inflateRawSync } from 'node:zlib'
import { maskedFrame, TEXT } from '../wire/frames.ts'
import { Peer, type Way } from '../wire/peer.ts'
import { EchoLoad } from './echo.ts'

/** How compressed messages are echoed. */
export interface DeflateEchoShape {
  /** The texts that are sent in turn, each compressed for itself. */
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

/** Connects to a server, and checks once for each connection that it echoes, compressed. */
export async function connectDeflateEcho(
  way: Way,
  { texts, inFlight, connections }: DeflateEchoShape,
): Promise<EchoLoad> {
  const frames = texts.map(compressedFrame)
  const [text = '', frame = Buffer.alloc(0)] = [texts[0], frames[0]]
  const peers = await Peer.openAll(connections, { ...way, deflate: 'as browsers' })
  for (const peer of peers) {
    peer.write(frame)
    const { first, payload } = await peer.take()
    if (first !== COMPRESSED) throw new Error('agreed to compress, but does not')
    const echo = inflateRawSync(Buffer.concat([payload, TAIL]), FLUSH).toString()
    if (echo !== text) throw new Error(`echoed ${echo.slice(0, 60)}`)
  }
  return new EchoLoad(peers, frames, inFlight)
}
