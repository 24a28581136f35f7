/** Tells the bench the port; then, whenever it asks, what the process has used or counted so far. */
export function report(port: number, count = (): number => 0): void {
  const answers = new Map<unknown, () => unknown>(Object.entries({ cpu, memory, count }))
  process.on('message', (question) => {
    const answer = answers.get(question)
    if (answer) process.send?.(answer())
  })
  process.on('disconnect', () => process.exit())
  process.send?.(port)
}

/** The microseconds of CPU used so far. */
function cpu(): number {
  const { user, system } = process.cpuUsage()
  return user + system
}

/** The bytes in use, once nothing is there that could be freed. */
function memory(): { rss: number; heap: number; external: number } {
  for (let i = 0; i < 4; i++) collect()
  const { rss, heapUsed: heap, external } = process.memoryUsage()
  return { rss, heap, external }
}

function collect(): void {
  if (typeof Bun === 'undefined') globalThis.gc?.()
  else Bun.gc(true)
}
