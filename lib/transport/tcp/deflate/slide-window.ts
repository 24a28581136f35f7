/** Returns the last `2 ** bits` bytes of `before` followed by `data`. */
export function slideWindow(before: Buffer, data: Uint8Array, bits: number): Buffer {
  const size = 2 ** bits
  if (data.length >= size) return Buffer.from(data.subarray(-size))
  if (data.length === 0) return before
  return Buffer.concat([before.subarray(Math.max(0, before.length - size + data.length)), data])
}
