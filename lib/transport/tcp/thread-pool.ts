const MAX_PARALLEL = 4 // as many threads as Node has for this, by default

const waiting: (() => void)[] = []
let running = 0

/**
 * Starts work of zlib's in Node's thread pool, once fewer than four others are under way in this
 * process: each takes memory from its start on.
 */
export function inThreadPool<Result>(
  start: (done: (error: Error | null, result: Result) => void) => void,
): Promise<Result> {
  return new Promise((resolve, reject) => {
    const run = (): void => {
      running += 1
      start((error, result) => {
        running -= 1
        waiting.shift()?.()
        if (error) reject(error)
        else resolve(result)
      })
    }
    if (running < MAX_PARALLEL) run()
    else waiting.push(run)
  })
}
