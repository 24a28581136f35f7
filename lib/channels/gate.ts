import { handled, isPromise } from '../promises.ts'
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

  /** Judges a payload, which may be anything or, without a schema, is one of an unknown event. */
  judge(schema: StandardSchema | 'anything' | undefined, payload: unknown, outcome: Outcome): void {
    try {
      const verdict = verdictOn(payload, schema)
      if (this.#judging || isPromise(verdict)) this.#wait(verdict, outcome)
      else outcome.settled(verdict)
    } catch (cause) {
      outcome.failed(cause)
    }
  }

  #wait(verdict: Verdict | PromiseLike<Verdict>, outcome: Outcome): void {
    outcome.waits?.(1)
    const coming = handled(Promise.resolve(verdict))
    const judging: Promise<void> = (this.#judging ?? Promise.resolve())
      .then(() => coming)
      .then((settled) => outcome.settled(settled))
      .catch((cause: unknown) => outcome.failed(cause))
      .then(() => {
        outcome.waits?.(-1)
        if (this.#judging === judging) this.#judging = undefined
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
