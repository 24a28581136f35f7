import { ChannelError, messageOf } from '../errors.ts'
import { handled, isPromise } from '../promises.ts'
import { checkContract, judged, type Contract, type Verdict } from './contract.ts'
import type { PushFrame } from './frame.ts'
import { PRESENCE_DIFF, PRESENCE_STATE } from './phoenix.ts'

/** Whose messages are sifted. */
interface Sifted {
  readonly topic: string
  /** Keeps what passed. */
  take(frame: PushFrame, payload: unknown, size: number): void
  /** Hears of what didn't. */
  refused(error: ChannelError): void
}

/** Lets pass on a client what its contract says that a server sends; the order stays. */
export class Sieve {
  readonly #schemas: Contract['out']
  readonly #of: Sifted
  /** What is judged now; whatever comes behind it waits. */
  #judging: Promise<void> | undefined

  /** @throws TypeError for what isn't a contract. */
  constructor(contract: Contract, of: Sifted) {
    checkContract(contract)
    this.#schemas = contract.out
    this.#of = of
  }

  put(frame: PushFrame, size: number): void {
    const verdict = this.#verdict(frame)
    if (!this.#judging && !isPromise(verdict)) {
      this.#settled(frame, size, verdict)
      return
    }
    const judged = handled(Promise.resolve(verdict))
    const judging: Promise<void> = (this.#judging ?? Promise.resolve())
      .then(() => judged)
      .then((settled) => this.#settled(frame, size, settled))
      .catch((cause: unknown) => this.#refuse(frame, messageOf(cause), cause))
      .then(() => {
        if (this.#judging === judging) this.#judging = undefined
      })
    this.#judging = judging
  }

  /** Who is here is none of the contract's business. */
  #verdict({ event, payload }: PushFrame): Verdict | PromiseLike<Verdict> {
    const schemas = this.#schemas
    if (!schemas || event === PRESENCE_STATE || event === PRESENCE_DIFF) return { value: payload }
    const schema = Object.hasOwn(schemas, event) ? schemas[event] : undefined
    if (!schema) return { refusal: { reason: 'unknown event', issues: [] } }
    try {
      return judged(schema, payload)
    } catch (cause) {
      return Promise.reject(cause)
    }
  }

  #settled(frame: PushFrame, size: number, verdict: Verdict): void {
    if ('value' in verdict) this.#of.take(frame, verdict.value, size)
    else this.#refuse(frame, verdict.refusal.reason, undefined, verdict.refusal)
  }

  #refuse({ event }: PushFrame, why: string, cause: unknown, reply?: unknown): void {
    const { topic } = this.#of
    this.#of.refused(
      new ChannelError(`\`${event}\` on \`${topic}\` breaks the contract: ${why}`, {
        ...{ topic, reply },
        cause,
      }),
    )
  }
}
