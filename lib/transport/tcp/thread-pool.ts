const MAX_PARALLEL = 4 // as many threads as Node has for this, by default

/** A connection, or one direction of it, that gives work to the pool. */
export interface PoolUser {
  /** The number of its latest turn; 0 where it had none. */
  latestTurn: number
}

interface Job {
  readonly user: PoolUser
  readonly run: () => void
}

const waiting = new Set<Job>() // in the order of their coming
let running = 0
let turns = 0

/**
 * Starts work of zlib's in Node's thread pool, once fewer than four others are under way in this
 * process: each takes memory from its start on. Of those that wait, the user whose latest turn is the
 * longest ago is next, so that no user with much work keeps the others waiting.
 */
export function inThreadPool<Result>(
  user: PoolUser,
  start: (done: (error: Error | null, result: Result) => void) => void,
): Promise<Result> {
  return new Promise((resolve, reject) => {
    const run = (): void => {
      user.latestTurn = ++turns
      running += 1
      start((error, result) => {
        running -= 1
        startNext()
        if (error) reject(error)
        else resolve(result)
      })
    }
    if (running < MAX_PARALLEL) run()
    else waiting.add({ user, run })
  })
}

function startNext(): void {
  let next: Job | undefined
  for (const job of waiting) {
    if (!next || job.user.latestTurn < next.user.latestTurn) next = job
  }
  if (!next) return
  waiting.delete(next)
  next.run()
}
