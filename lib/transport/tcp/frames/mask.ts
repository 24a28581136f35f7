import { randomFillSync } from 'node:crypto'

const SHORT = 64 // bytes; fewer bytes are masked faster one by one

// A key is a number whose lowest byte comes first. On little-endian machines a 32-bit word of
// memory is the same number, so whole words can be masked. Only these machines matter; others mask
// byte by byte.
const isLittleEndian = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1

/**
 * Masks bytes in place, or unmasks them, RFC 6455 §5.3. Returns whether all of them are ASCII
 * afterwards.
 */
export function applyMask(bytes: Uint8Array, key: number, start: number, end: number): boolean {
  if (end - start < SHORT || !isLittleEndian) return maskBytes(bytes, key, start, end)
  const lead = -(bytes.byteOffset + start) & 3 // words begin at multiples of four bytes
  const wordsEnd = end - ((end - start - lead) & 3)
  const wordKey = rotateKey(key, lead)
  const isLeadAscii = maskBytes(bytes, key, start, start + lead)
  const areWordsAscii = maskWords(bytes, wordKey, start + lead, wordsEnd)
  const isTailAscii = maskBytes(bytes, wordKey, wordsEnd, end)
  return isLeadAscii && areWordsAscii && isTailAscii
}

/** Returns the key rotated for the position after `bytes` bytes. */
export function rotateKey(key: number, bytes: number): number {
  const bits = 8 * (bytes & 3)
  return bits === 0 ? key : (key >>> bits) | (key << (32 - bits))
}

/** Reads a key from a frame. */
export function readKey(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at] ?? 0) |
    ((bytes[at + 1] ?? 0) << 8) |
    ((bytes[at + 2] ?? 0) << 16) |
    ((bytes[at + 3] ?? 0) << 24)
  )
}

/** Writes a key into a frame. */
export function writeKey(bytes: Uint8Array, key: number, at: number): void {
  bytes[at] = key
  bytes[at + 1] = key >>> 8
  bytes[at + 2] = key >>> 16
  bytes[at + 3] = key >>> 24
}

const randomKeys = new Int32Array(2 * 1024)
let nextIndex = randomKeys.length

/** Returns an unpredictable key, RFC 6455 §10.3. */
export function drawKey(): number {
  if (nextIndex === randomKeys.length) {
    randomFillSync(randomKeys)
    nextIndex = 0
  }
  return randomKeys[nextIndex++] ?? 0
}

function maskBytes(bytes: Uint8Array, key: number, start: number, end: number): boolean {
  const first = key & 0xff
  const second = (key >>> 8) & 0xff
  const third = (key >>> 16) & 0xff
  const fourth = key >>> 24
  let allBits = 0 // each bit that is set in any byte
  let at = start
  for (; at + 4 <= end; at += 4) {
    allBits |= bytes[at] = (bytes[at] ?? 0) ^ first
    allBits |= bytes[at + 1] = (bytes[at + 1] ?? 0) ^ second
    allBits |= bytes[at + 2] = (bytes[at + 2] ?? 0) ^ third
    allBits |= bytes[at + 3] = (bytes[at + 3] ?? 0) ^ fourth
  }
  if (at < end) allBits |= bytes[at] = (bytes[at] ?? 0) ^ first
  if (at + 1 < end) allBits |= bytes[at + 1] = (bytes[at + 1] ?? 0) ^ second
  if (at + 2 < end) allBits |= bytes[at + 2] = (bytes[at + 2] ?? 0) ^ third
  return allBits < 0x80
}

function maskWords(bytes: Uint8Array, key: number, start: number, end: number): boolean {
  const count = (end - start) >> 2
  const words = new Int32Array(bytes.buffer, bytes.byteOffset + start, count)
  let allBits = 0 // each bit that is set in any word
  let index = 0
  for (; index + 4 <= count; index += 4) {
    allBits |= words[index] = (words[index] ?? 0) ^ key
    allBits |= words[index + 1] = (words[index + 1] ?? 0) ^ key
    allBits |= words[index + 2] = (words[index + 2] ?? 0) ^ key
    allBits |= words[index + 3] = (words[index + 3] ?? 0) ^ key
  }
  for (; index < count; index++) allBits |= words[index] = (words[index] ?? 0) ^ key
  return (allBits & 0x80808080) === 0
}
