const MAX_PARALLEL = 4 // the default size of Node's thread pool

/** A connection, or one direction of it, that uses the pool. */
export interface PoolUser {
  /** The number of the user's latest turn; 0 if it had none. */
  latestTurn: number
}

interface Job {
  readonly user: PoolUser
  readonly run: () => void
}

const waitingJobs = new Set<Job>() // in order of arrival
let runningJobs = 0
let turnCount = 0

/**
 * Runs a job of zlib in Node's thread pool, once fewer than four other jobs run in this process:
 * each job takes memory as soon as it starts. Of the waiting jobs, the one of the user whose latest
 * turn is the longest ago is next, so that a user with much work does not delay the others.
 */
export function runInThreadPool<Result>(
  user: PoolUser,
  start: (done: (error: Error | null, result: Result) => void) => void,
): Promise<Result> {
  return new Promise((resolve, reject) => {
    const run = (): void => {
      user.latestTurn = ++turnCount
      runningJobs += 1
      start((error, result) => {
        runningJobs -= 1
        startNext()
        if (error) reject(error)
        else resolve(result)
      })
    }
    if (runningJobs < MAX_PARALLEL) run()
    else waitingJobs.add({ user, run })
  })
}

function startNext(): void {
  let next: Job | undefined
  for (const job of waitingJobs) {
    if (!next || job.user.latestTurn < next.user.latestTurn) next = job
  }
  if (!next) return
  waitingJobs.delete(next)
  next.run()
}
