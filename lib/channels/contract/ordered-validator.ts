import { deferred, markHandled, isPromise } from '../../promises.ts'
import { validate, type StandardSchema, type ValidationResult } from './contract.ts'

/** The callbacks for the result of one validation, and the size of the payload. */
export interface ValidationHandlers {
  /** The bytes of the payload. */
  readonly size?: number
  /** Receives the result: valid or not. */
  onResult(result: ValidationResult): void
  /** Receives what the schema, or `onResult`, has thrown. */
  onError(cause: unknown): void
  /**
   * Called with 1 when the payload begins to wait, for its own result or for those of earlier
   * payloads, and with -1 when the wait ends.
   */
  onWaiting?(step: 1 | -1): void
}

const UNKNOWN_EVENT: ValidationResult = { refusal: { reason: 'unknown event', issues: [] } }

/** A validator for schemas that may be asynchronous: it delivers results in order of arrival. */
export class OrderedValidator {
  /** Resolves once the last waiting payload is done; every later payload waits for it. */
  #pending: Promise<void> | undefined
  #waitingBytes = 0

  /** Whether a validation is still pending. */
  get isValidating(): boolean {
    return this.#pending !== undefined
  }

  /** The bytes of the payloads that wait, for their own results or for those of earlier ones. */
  get waitingBytes(): number {
    return this.#waitingBytes
  }

  /**
   * Validates a payload. The schema `'anything'` accepts every payload; an undefined schema means
   * an unknown event, and refuses the payload.
   */
  validate(
    schema: StandardSchema | 'anything' | undefined,
    payload: unknown,
    handlers: ValidationHandlers,
  ): void {
    try {
      const result = runSchema(payload, schema)
      if (this.#pending || isPromise(result)) this.#wait(Promise.resolve(result), handlers)
      else handlers.onResult(result)
    } catch (cause) {
      // A schema that throws at once also waits for its turn, behind the results of earlier
      // payloads.
      if (this.#pending) this.#wait(rejectedWith(cause), handlers)
      else handlers.onError(cause)
    }
  }

  #wait(result: Promise<ValidationResult>, handlers: ValidationHandlers): void {
    const { size = 0 } = handlers
    this.#waitingBytes += size
    handlers.onWaiting?.(1)
    markHandled(result)
    const pending: Promise<void> = (this.#pending ?? Promise.resolve())
      .then(() => result)
      .then((outcome) => handlers.onResult(outcome))
      .catch((cause: unknown) => handlers.onError(cause))
      .then(() => {
        if (this.#pending === pending) this.#pending = undefined
        this.#waitingBytes -= size
        handlers.onWaiting?.(-1)
      })
    this.#pending = pending
  }
}

function runSchema(
  payload: unknown,
  schema: StandardSchema | 'anything' | undefined,
): ValidationResult | PromiseLike<ValidationResult> {
  if (schema === 'anything') return { value: payload }
  return schema ? validate(schema, payload) : UNKNOWN_EVENT
}

function rejectedWith(cause: unknown): Promise<never> {
  const { promise, reject } = deferred<never>()
  reject(cause)
  return promise
}
