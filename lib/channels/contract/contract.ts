import {
  checkSchema,
  type InferInput,
  type InferOutput,
  type StandardResult,
  type StandardSchema,
} from '../../messages/standard-schema.ts'
import { isPromise } from '../../promises.ts'
import { checkNames, isArray, isObject, invalidValue } from '../../validation.ts'

/** The events that the clients of a topic and its server exchange, with a schema for each. */
export interface Contract {
  /**
   * The schemas of the events that a server receives, by event name. Any other event is refused.
   *
   * @default any event, any payload
   */
  readonly in?: Readonly<Record<string, StandardSchema>> | undefined
  /**
   * The schemas of the events that a server sends, by event name. They serve the compiler, and a
   * client that has the contract checks what it receives.
   *
   * @default any event, any payload
   */
  readonly out?: Readonly<Record<string, StandardSchema>> | undefined
  /**
   * The schema of the payload of a join.
   *
   * @default any payload
   */
  readonly join?: StandardSchema | undefined
}

/** Payload types by event name, as the schemas of a contract return them. */
export type InferOutputs<Schemas> = [Schemas] extends [Readonly<Record<string, StandardSchema>>]
  ? { [Name in keyof Schemas]: InferOutput<Schemas[Name]> }
  : Record<string, any>

/** Payload types by event name, as the schemas of a contract accept them. */
export type InferInputs<Schemas> = [Schemas] extends [Readonly<Record<string, StandardSchema>>]
  ? { [Name in keyof Schemas]: InferInput<Schemas[Name]> }
  : Record<string, any>

/** The payload type of a join, as the schema of a contract returns it. */
export type InferJoin<Schema> = [Schema] extends [StandardSchema] ? InferOutput<Schema> : any

/** The reply to a payload that its schema rejects. */
interface InvalidPayload {
  readonly reason: string
  readonly issues: readonly { readonly message: string; readonly path: readonly unknown[] }[]
}

/** The result of validating a payload: the value to use from then on, or the error reply. */
export type ValidationResult = { readonly value: unknown } | { readonly refusal: InvalidPayload }

// The peer decides how many issues a payload has, so the reply lists only the first ones.
const MAX_ISSUES = 20

/**
 * Checks a contract. On a server, a contract may also hold the options of a topic.
 *
 * @throws TypeError for an unknown name, and for a value that is no schema.
 */
export function checkContract(contract: Contract): void {
  checkNames(contract, ['in', 'out', 'join', 'history', 'open'])
  if (contract.join !== undefined) checkSchema('join', contract.join)
  for (const side of ['in', 'out'] as const) {
    const schemas = contract[side]
    if (schemas === undefined) continue
    if (!isObject(schemas) || isArray(schemas)) {
      throw invalidValue(`\`${side}\``, 'an object of schemas, by their events', schemas)
    }
    for (const [event, schema] of Object.entries(schemas)) checkSchema(`${side}.${event}`, schema)
  }
}

/** Validates a payload. Throws, or rejects, with whatever the schema throws. */
export function validate(
  schema: StandardSchema,
  payload: unknown,
): ValidationResult | PromiseLike<ValidationResult> {
  const result = schema['~standard'].validate(payload)
  if (!isPromise(result)) return toValidationResult(result)
  return result.then((outcome) => toValidationResult(outcome))
}

function toValidationResult(result: StandardResult<unknown>): ValidationResult {
  if (!result.issues) return { value: result.value }
  const issues = result.issues.slice(0, MAX_ISSUES).map(({ message, path = [] }) => ({
    message,
    path: path.map((segment) => toJsonKey(typeof segment === 'object' ? segment.key : segment)),
  }))
  return { refusal: { reason: 'invalid payload', issues } }
}

function toJsonKey(key: PropertyKey): string | number {
  return typeof key === 'symbol' ? String(key) : key
}
