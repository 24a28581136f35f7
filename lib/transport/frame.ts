import { randomFillSync } from 'node:crypto'

/** The bits of a frame's first byte, RFC 6455 §5.2. */
export const FIN = 0x80
export const RESERVED = 0x70
export const COMPRESSED = 0x40 // RFC 7692 §6
export const OPCODE = 0x0f

/** Opcodes. */
export const TEXT = 1
export const BINARY = 2
export const CLOSE = 8
export const PING = 9
export const PONG = 10

/** What is known of a stream where a frame begins. */
export interface Stream {
  /** Whether the peer masks: clients do, RFC 6455 §5.1. */
  readonly masked: boolean
  /** Whether its messages may be compressed, RFC 7692. */
  readonly compressed: boolean
}

/**
 * Tells whether a frame may be where it is, by its first two bytes, RFC 6455 §5.2, §5.4 and §5.5;
 * `fragmented` is whether a message is under way.
 */
export function isFrame(
  first: number,
  second: number,
  fragmented: boolean,
  { masked, compressed }: Stream,
): boolean {
  if (second > 0x7f !== masked) return false
  const opcode = first & OPCODE
  const reserved = first & RESERVED
  if (opcode >= CLOSE) {
    return reserved === 0 && opcode <= PONG && first >= FIN && (second & 0x7f) < 126
  }
  if (reserved !== 0 && !(compressed && reserved === COMPRESSED && opcode !== 0)) return false
  return opcode <= BINARY && (opcode === 0) === fragmented
}

const SHORT = 48 // bytes; fewer are masked faster one by one

const word = new Uint32Array(1)
const wordBytes = new Uint8Array(word.buffer)

/**
 * Masks bytes in place, or unmasks them, RFC 6455 §5.3, with the four bytes at another place of the
 * same buffer; tells whether all of them are ASCII afterwards.
 */
export function mask(bytes: Uint8Array, maskAt: number, start: number, end: number): boolean {
  const one = bytes[maskAt] ?? 0
  const two = bytes[maskAt + 1] ?? 0
  const three = bytes[maskAt + 2] ?? 0
  const four = bytes[maskAt + 3] ?? 0
  let all = 0 // every bit that any byte has
  let at = start
  if (end - start >= SHORT) {
    // Words begin at multiples of four in the memory behind the bytes.
    const lead = -(bytes.byteOffset + start) & 3
    for (; at < start + lead; at++) {
      all |= bytes[at] = (bytes[at] ?? 0) ^ (bytes[maskAt + (at - start)] ?? 0)
    }
    for (let index = 0; index < 4; index++) {
      wordBytes[index] = bytes[maskAt + ((lead + index) & 3)] ?? 0
    }
    const key = word[0] ?? 0
    const count = (end - at) >> 2
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset + at, count)
    let every = 0
    for (let index = 0; index < count; index++) {
      every |= words[index] = (words[index] ?? 0) ^ key
    }
    at += 4 * count
    if ((every & 0x80808080) !== 0) all |= 0x80
    for (; at < end; at++) {
      all |= bytes[at] = (bytes[at] ?? 0) ^ (bytes[maskAt + ((at - start) & 3)] ?? 0)
    }
    return all < 0x80
  }
  for (; at + 4 <= end; at += 4) {
    all |= bytes[at] = (bytes[at] ?? 0) ^ one
    all |= bytes[at + 1] = (bytes[at + 1] ?? 0) ^ two
    all |= bytes[at + 2] = (bytes[at + 2] ?? 0) ^ three
    all |= bytes[at + 3] = (bytes[at + 3] ?? 0) ^ four
  }
  if (at < end) all |= bytes[at] = (bytes[at] ?? 0) ^ one
  if (at + 1 < end) all |= bytes[at + 1] = (bytes[at + 1] ?? 0) ^ two
  if (at + 2 < end) all |= bytes[at + 2] = (bytes[at + 2] ?? 0) ^ three
  return all < 0x80
}

const drawn = new Uint8Array(8 * 1024)
let next = drawn.length

/** Draws a mask that nobody can guess, RFC 6455 §10.3. */
export function drawMask(target: Uint8Array, at: number): void {
  if (next === drawn.length) {
    randomFillSync(drawn)
    next = 0
  }
  for (let index = 0; index < 4; index++) target[at + index] = drawn[next++] ?? 0
}
