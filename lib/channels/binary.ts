import { FrameError } from '../errors.ts'
import { byteLength, malformed, MOST_NAME } from './text.ts'

/** A frame of bytes: its kind, names with a byte each for their lengths, and the data they are of. */
export interface BinaryFrame {
  readonly names: readonly string[]
  readonly data: Uint8Array
}

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * Reads a frame with so many names, whatever its kind; the data is a view of it.
 *
 * @throws FrameError with 1007 for names that aren't UTF-8, with 1008 for one that is cut short.
 */
export function readBinary(bytes: Uint8Array, count: number): BinaryFrame {
  const start = 1 + count
  const lengths = bytes.subarray(1, start)
  const end = lengths.reduce((sum, length) => sum + length, start)
  if (lengths.length < count || end > bytes.length) throw malformed('a binary frame is cut short')
  const block = readText(bytes.subarray(start, end))
  const isAscii = block.length === end - start // then a byte is a character, and one reading enough
  const names: string[] = []
  let from = start
  for (const length of lengths) {
    const to = from + length
    names.push(isAscii ? block.slice(from - start, to - start) : readText(bytes.subarray(from, to)))
    from = to
  }
  return { names, data: bytes.subarray(end) }
}

/**
 * Writes a frame of a kind.
 *
 * @throws RangeError for a name of more than 255 bytes.
 */
export function writeBinary(
  kind: number,
  names: readonly string[],
  data: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const lengths = names.map(nameLength)
  const size = lengths.reduce((sum, length) => sum + length, 1 + names.length + data.length)
  const frame = new Uint8Array(size)
  frame[0] = kind
  frame.set(lengths, 1)
  let at = 1 + names.length
  for (const [index, name] of names.entries()) {
    encoder.encodeInto(name, frame.subarray(at))
    at += lengths[index] ?? 0
  }
  frame.set(data, at)
  return frame
}

function nameLength(name: string): number {
  const length = byteLength(name)
  if (length <= MOST_NAME) return length
  throw new RangeError(
    `expected \`${name.slice(0, 32)}…\` to have at most ${MOST_NAME} bytes, as it goes with bytes, ` +
      `got ${length}`,
  )
}

function readText(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes)
  } catch (cause) {
    throw new FrameError('expected names in UTF-8', { code: 1007, cause })
  }
}
