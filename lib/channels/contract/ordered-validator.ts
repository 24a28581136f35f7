import { OrderedResults, type ResultHandlers } from '../../messages/ordered-results.ts'
import type { StandardSchema } from '../../messages/standard-schema.ts'
import { validate, type ValidationResult } from './contract.ts'

const UNKNOWN_EVENT: ValidationResult = { refusal: { reason: 'unknown event', issues: [] } }

/** A validator for schemas that may be asynchronous: it delivers results in order of arrival. */
export class OrderedValidator {
  readonly #results = new OrderedResults()

  /** Whether a validation is still pending. */
  get isValidating(): boolean {
    return this.#results.isPending
  }

  /** The bytes of the payloads that wait, for their own results or for those of earlier ones. */
  get waitingBytes(): number {
    return this.#results.waitingBytes
  }

  /**
   * Validates a payload. The schema `'anything'` accepts every payload; an undefined schema means
   * an unknown event, and refuses the payload.
   */
  validate(
    schema: StandardSchema | 'anything' | undefined,
    payload: unknown,
    handlers: ResultHandlers<ValidationResult>,
  ): void {
    this.#results.run(() => runSchema(payload, schema), handlers)
  }
}

function runSchema(
  payload: unknown,
  schema: StandardSchema | 'anything' | undefined,
): ValidationResult | PromiseLike<ValidationResult> {
  if (schema === 'anything') return { value: payload }
  return schema ? validate(schema, payload) : UNKNOWN_EVENT
}
