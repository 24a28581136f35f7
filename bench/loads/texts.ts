/** Returns a text of so many bytes. */
export function textOf(bytes: number): string {
  return 'The quick brown fox jumps over! '.repeat(bytes / 32 + 1).slice(0, bytes)
}

/**
 * Returns JSON of so many bytes, at least 300, as a feed has it: alike from part to part, never the
 * same, and another one for each `seed`.
 */
export function jsonOf(bytes: number, seed = 0): string {
  const at = Date.UTC(2026, 0, 1)
  const orders = Array.from({ length: bytes / 64 }, (_, step) => step + seed * 101).map(
    (index) => ({
      id: 48_213 + index * 7,
      symbol: ['ACME', 'GLOBEX', 'INITECH', 'UMBRELLA'][(index * 5) % 4],
      side: index % 3 === 0 ? 'sell' : 'buy',
      price: (10_000 + ((index * 7_919) % 997)) / 100,
      quantity: 1 + ((index * 31) % 50),
      at: new Date(at + index * 1_371).toISOString(),
    }),
  )
  const whole = (count: number): string =>
    JSON.stringify({ type: 'orders', orders: orders.slice(0, count) })
  const most = orders.findLastIndex((_, index) => whole(index).length <= bytes)
  return whole(most).padEnd(bytes) // spaces may follow JSON
}
