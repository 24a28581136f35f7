import { deferred, handled, isPromise } from '../promises.ts'
import { judged, type StandardSchema, type Verdict } from './contract.ts'

/** What becomes of what is judged. */
export interface Outcome {
  /** It has passed, or not. */
  settled(verdict: Verdict): void
  /** Its schema has failed, or what came of it. */
  failed(cause: unknown): void
  /** It begins, or ends, to wait for its verdict, or for those of what came before it. */
  waits?(step: 1 | -1): void
}

const UNKNOWN: Verdict = { refusal: { reason: 'unknown event', issues: [] } }

/** Has schemas judge what comes, and hands it on in the order in which it came. */
export class Gate {
  /** What is judged still; whatever comes behind it waits. */
  #judging: Promise<void> | undefined

  /** Whether something is being judged still. */
  get isJudging(): boolean {
    return this.#judging !== undefined
  }

  /** Judges a payload, which may be anything or, without a schema, is one of an unknown event. */
  judge(schema: StandardSchema | 'anything' | undefined, payload: unknown, outcome: Outcome): void {
    try {
      const verdict = verdictOn(payload, schema)
      if (this.#judging || isPromise(verdict)) this.#wait(Promise.resolve(verdict), outcome)
      else outcome.settled(verdict)
    } catch (cause) {
      // What throws at once waits for its turn, too: what came before it is told before it.
      if (this.#judging) this.#wait(rejected(cause), outcome)
      else outcome.failed(cause)
    }
  }

  #wait(verdict: Promise<Verdict>, outcome: Outcome): void {
    outcome.waits?.(1)
    handled(verdict)
    const judging: Promise<void> = (this.#judging ?? Promise.resolve())
      .then(() => verdict)
      .then((settled) => outcome.settled(settled))
      .catch((cause: unknown) => outcome.failed(cause))
      .then(() => {
        if (this.#judging === judging) this.#judging = undefined
        outcome.waits?.(-1)
      })
    this.#judging = judging
  }
}

function verdictOn(
  payload: unknown,
  schema: StandardSchema | 'anything' | undefined,
): Verdict | PromiseLike<Verdict> {
  if (schema === 'anything') return { value: payload }
  return schema ? judged(schema, payload) : UNKNOWN
}

function rejected(cause: unknown): Promise<never> {
  const { promise, reject } = deferred<never>()
  reject(cause)
  return promise
}
