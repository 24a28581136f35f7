import { randomFillSync } from 'node:crypto'

const SHORT = 64 // bytes; fewer are masked faster one by one

// A key is a number, its first byte the lowest one. A word of memory is the same number on
// little-endian machines, which are all that matter; others go byte by byte.
const isLittleEndian = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1

/**
 * Masks bytes in place, or unmasks them, RFC 6455 §5.3. Returns whether all of them are ASCII
 * afterwards.
 */
export function applyMask(bytes: Uint8Array, key: number, start: number, end: number): boolean {
  if (end - start < SHORT || !isLittleEndian) return maskBytes(bytes, key, start, end)
  const lead = -(bytes.byteOffset + start) & 3 // words begin at multiples of four
  const wordsEnd = end - ((end - start - lead) & 3)
  const wordKey = rotateKey(key, lead)
  const isAsciiBefore = maskBytes(bytes, key, start, start + lead)
  const isAsciiInside = maskWords(bytes, wordKey, start + lead, wordsEnd)
  const isAsciiBehind = maskBytes(bytes, wordKey, wordsEnd, end)
  return isAsciiBefore && isAsciiInside && isAsciiBehind
}

/** Returns the key as it goes on behind so many bytes. */
export function rotateKey(key: number, bytes: number): number {
  const bits = 8 * (bytes & 3)
  return bits === 0 ? key : (key >>> bits) | (key << (32 - bits))
}

/** Reads a key where it stands in a frame. */
export function readKey(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at] ?? 0) |
    ((bytes[at + 1] ?? 0) << 8) |
    ((bytes[at + 2] ?? 0) << 16) |
    ((bytes[at + 3] ?? 0) << 24)
  )
}

/** Writes a key where it belongs in a frame. */
export function writeKey(bytes: Uint8Array, key: number, at: number): void {
  bytes[at] = key
  bytes[at + 1] = key >>> 8
  bytes[at + 2] = key >>> 16
  bytes[at + 3] = key >>> 24
}

const drawn = new Int32Array(2 * 1024)
let next = drawn.length

/** Draws an unpredictable key, RFC 6455 §10.3. */
export function drawKey(): number {
  if (next === drawn.length) {
    randomFillSync(drawn)
    next = 0
  }
  return drawn[next++] ?? 0
}

function maskBytes(bytes: Uint8Array, key: number, start: number, end: number): boolean {
  const one = key & 0xff
  const two = (key >>> 8) & 0xff
  const three = (key >>> 16) & 0xff
  const four = key >>> 24
  let all = 0 // every bit that any byte has
  let at = start
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

function maskWords(bytes: Uint8Array, key: number, start: number, end: number): boolean {
  const count = (end - start) >> 2
  const words = new Int32Array(bytes.buffer, bytes.byteOffset + start, count)
  let all = 0
  let index = 0
  for (; index + 4 <= count; index += 4) {
    all |= words[index] = (words[index] ?? 0) ^ key
    all |= words[index + 1] = (words[index + 1] ?? 0) ^ key
    all |= words[index + 2] = (words[index + 2] ?? 0) ^ key
    all |= words[index + 3] = (words[index + 3] ?? 0) ^ key
  }
  for (; index < count; index++) all |= words[index] = (words[index] ?? 0) ^ key
  return (all & 0x80808080) === 0
}
