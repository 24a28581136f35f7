import { constants, deflateRawSync } from 'node:zlib'

const MIB = 1024 * 1024

// Zeros that look back at nothing before them: however many stand in a row, they can be inflated.
const parts = new Map(
  [1, 16].map((size) => {
    const finishFlush = constants.Z_FULL_FLUSH
    return [size, deflateRawSync(Buffer.alloc(size * MIB), { finishFlush })] as const
  }),
)

/** Returns the payload of a compressed message that is so many MB long: a thousandth of them. */
export function bomb(megabytes: number): Buffer {
  const size = megabytes % 16 === 0 ? 16 : 1
  const part = parts.get(size) ?? Buffer.alloc(0)
  return Buffer.concat(Array<Buffer>(megabytes / size).fill(part)).subarray(0, -4)
}
