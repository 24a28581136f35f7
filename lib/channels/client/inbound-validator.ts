import { escapeText } from '../../error-text.ts'
import { ChannelError } from '../../channel-errors.ts'
import { messageOf } from '../../errors.ts'
import { checkContract, type Contract, type StandardSchema } from '../contract/contract.ts'
import type { PushFrame } from '../protocol/serializer.ts'
import { OrderedValidator } from '../contract/ordered-validator.ts'
import { PRESENCE_DIFF, PRESENCE_STATE } from '../protocol/phoenix.ts'

/** The channel whose messages are validated. */
interface ValidatorOwner {
  readonly topic: string
  /** Enqueues a message that is valid. */
  enqueue(frame: PushFrame, payload: unknown, size: number): void
  /** Receives the error of a message that is not valid. */
  refused(error: ChannelError): void
  /** Called when an asynchronous validation has finished. */
  onValidated(): void
}

/**
 * A client's check of what its server sends against a contract. Valid messages keep their order;
 * others become errors of the channel.
 */
export class InboundValidator {
  readonly #schemas: Contract['out']
  readonly #owner: ValidatorOwner
  readonly #validator = new OrderedValidator()

  /** @throws TypeError for a value that isn't a contract. */
  constructor(contract: Contract, owner: ValidatorOwner) {
    checkContract(contract)
    this.#schemas = contract.out
    this.#owner = owner
  }

  /** Whether a validation is still pending. */
  get isValidating(): boolean {
    return this.#validator.isValidating
  }

  /** Validates a message, and passes it, or the error, to the channel. */
  validate(frame: PushFrame, payload: unknown, size: number): void {
    this.#validator.validate(this.#schemaOf(frame.event), payload, {
      onResult: (result) => {
        if ('value' in result) this.#owner.enqueue(frame, result.value, size)
        else this.#refuse(frame, result.refusal.reason, undefined, result.refusal)
      },
      onError: (cause) => this.#refuse(frame, messageOf(cause), cause),
      onWaiting: (step) => {
        if (step === -1) this.#owner.onValidated()
      },
    })
  }

  #schemaOf(event: string): StandardSchema | 'anything' | undefined {
    const schemas = this.#schemas
    // Presence events belong to the protocol, so contracts don't describe them.
    if (!schemas || event === PRESENCE_STATE || event === PRESENCE_DIFF) return 'anything'
    return Object.hasOwn(schemas, event) ? schemas[event] : undefined
  }

  #refuse({ event }: PushFrame, reason: string, cause: unknown, reply?: unknown): void {
    const { topic } = this.#owner
    this.#owner.refused(
      new ChannelError(escapeText(`\`${event}\` on \`${topic}\` breaks the contract: ${reason}`), {
        code: 'ERR_INVALID_MESSAGE',
        topic,
        reply,
        cause,
      }),
    )
  }
}
