import { escaped } from '../error-text.ts'
import { ChannelError, messageOf } from '../errors.ts'
import { checkContract, type Contract, type StandardSchema } from './contract.ts'
import type { PushFrame } from './frame.ts'
import { Gate } from './gate.ts'
import { PRESENCE_DIFF, PRESENCE_STATE } from './phoenix.ts'

/** Whose messages are sifted. */
interface Sifted {
  readonly topic: string
  /** Keeps what passed. */
  take(frame: PushFrame, payload: unknown, size: number): void
  /** Hears of what didn't. */
  refused(error: ChannelError): void
  /** Called when a schema that answered later has checked a message. */
  judged(): void
}

/** Lets pass on a client what its contract says that a server sends; the order stays. */
export class Sieve {
  readonly #schemas: Contract['out']
  readonly #of: Sifted
  readonly #gate = new Gate()

  /** @throws TypeError for what isn't a contract. */
  constructor(contract: Contract, of: Sifted) {
    checkContract(contract)
    this.#schemas = contract.out
    this.#of = of
  }

  /** Whether something is being judged still. */
  get isJudging(): boolean {
    return this.#gate.isJudging
  }

  put(frame: PushFrame, payload: unknown, size: number): void {
    this.#gate.judge(this.#schemaOf(frame.event), payload, {
      settled: (verdict) => {
        if ('value' in verdict) this.#of.take(frame, verdict.value, size)
        else this.#refuse(frame, verdict.refusal.reason, undefined, verdict.refusal)
      },
      failed: (cause) => this.#refuse(frame, messageOf(cause), cause),
      waits: (step) => {
        if (step === -1) this.#of.judged()
      },
    })
  }

  #schemaOf(event: string): StandardSchema | 'anything' | undefined {
    const schemas = this.#schemas
    // Who is here is none of the contract's business.
    if (!schemas || event === PRESENCE_STATE || event === PRESENCE_DIFF) return 'anything'
    return Object.hasOwn(schemas, event) ? schemas[event] : undefined
  }

  #refuse({ event }: PushFrame, why: string, cause: unknown, reply?: unknown): void {
    const { topic } = this.#of
    this.#of.refused(
      new ChannelError(escaped(`\`${event}\` on \`${topic}\` breaks the contract: ${why}`), {
        ...{ topic, reply },
        cause,
      }),
    )
  }
}
