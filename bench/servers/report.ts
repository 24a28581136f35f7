const GIVING_BACK = 50 // milliseconds

/** Tells the bench the port; then, whenever it asks, what the process has used or counted so far. */
export function report(port: number, count = (): number => 0): void {
  const answers = new Map<unknown, () => unknown>(Object.entries({ cpu, memory, count }))
  process.on('message', (question) => {
    const answer = answers.get(question)
    if (answer) void Promise.resolve(answer()).then((told) => process.send?.(told))
  })
  process.on('disconnect', () => process.exit())
  process.send?.(port)
}

/** The microseconds of CPU used so far. */
function cpu(): number {
  const { user, system } = process.cpuUsage()
  return user + system
}

/** The bytes in use, once nothing is there that could be freed, and what was freed is given back. */
async function memory(): Promise<{ rss: number; heap: number; external: number }> {
  for (let i = 0; i < 4; i++) {
    collect()
    await new Promise((resolve) => setTimeout(resolve, GIVING_BACK))
  }
  const { rss, heapUsed: heap, external } = process.memoryUsage()
  return { rss, heap, external }
}

function collect(): void {
  if (typeof Bun === 'undefined') globalThis.gc?.()
  else Bun.gc(true)
}
