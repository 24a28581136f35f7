import { decoder, encoder } from '../../connection/message.ts'
import { FrameError } from '../../errors.ts'
import { outOfRange } from '../../validation.ts'
import { utf8Length, protocolError, MAX_NAME } from './json.ts'

/**
 * A decoded binary frame. On the wire it is: one byte for the kind, one byte for the length of each
 * name, the names, the data.
 */
export interface BinaryFrame {
  readonly names: readonly string[]
  readonly data: Uint8Array
}

// The kinds of binary frames.
export const PUSH_KIND = 0
export const REPLY_KIND = 1
export const BROADCAST_KIND = 2

/**
 * Decodes a frame of any kind that has `count` names; the data is a view of the frame.
 *
 * @throws FrameError with 1007 for names that aren't UTF-8, with 1008 for a frame that is cut
 * short.
 */
export function readBinary(bytes: Uint8Array, count: number): BinaryFrame {
  const start = 1 + count
  const lengths = bytes.subarray(1, start)
  const end = lengths.reduce((sum, length) => sum + length, start)
  if (lengths.length < count || end > bytes.length) {
    throw protocolError('a binary frame is cut short')
  }
  const block = decodeText(bytes.subarray(start, end))
  // In ASCII each byte is a character: the names are slices of one decoded block.
  const isAscii = block.length === end - start
  const names: string[] = []
  let nameStart = start
  for (const length of lengths) {
    const nameEnd = nameStart + length
    names.push(
      isAscii
        ? block.slice(nameStart - start, nameEnd - start)
        : decodeText(bytes.subarray(nameStart, nameEnd)),
    )
    nameStart = nameEnd
  }
  return { names, data: bytes.subarray(end) }
}

/**
 * Encodes a frame with its kind as the first byte.
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
  let position = 1 + names.length
  for (const [index, name] of names.entries()) {
    encoder.encodeInto(name, frame.subarray(position))
    position += lengths[index] ?? 0
  }
  frame.set(data, position)
  return frame
}

function nameLength(name: string): number {
  const length = utf8Length(name)
  if (length <= MAX_NAME) return length
  const text =
    `expected \`${name.slice(0, 32)}…\` to have at most ${MAX_NAME} bytes, as it goes with bytes, ` +
    `got ${length}`
  throw outOfRange(text)
}

function decodeText(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes)
  } catch (cause) {
    throw new FrameError('expected names in UTF-8', { closeCode: 1007, cause })
  }
}
