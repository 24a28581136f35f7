import { decoder, type Data } from '../connection/message.ts'
import { messageOf } from '../format.ts'
import { isPromise } from '../promises.ts'
import {
  invalidArgument,
  milliseconds,
  optional,
  resolveOptions,
  type Rule,
} from '../validation.ts'
import { InvalidMessage } from './invalid-message.ts'
import { toMessages, type Messages } from './messages.ts'
import { MAX_DEPTH, nestsDeeper } from './nests-deeper.ts'
import { isSchema, type StandardResult, type StandardSchema } from './standard-schema.ts'

/** The options of `json`. */
export interface JsonOptions<In, Out> {
  /**
   * The schema that checks each received message, and may change it.
   *
   * @default every JSON value
   */
  in?: StandardSchema<unknown, In> | undefined
  /**
   * The schema of the messages that are sent. It serves the compiler: what is sent is not checked
   * at run time.
   *
   * @default every JSON value
   */
  out?: StandardSchema<Out, unknown> | undefined
  /**
   * The reaction to a message that the schema `in` refuses: close with 1008, or drop the message
   * and count it.
   *
   * @default 'close'
   */
  invalid?: 'close' | 'drop' | undefined
  /**
   * Milliseconds that an asynchronous schema may take for one message.
   *
   * @default 5_000
   */
  timeout?: number | undefined
}

const MAX_ISSUES = 20 // the peer decides how many issues a message has

const rules = {
  in: optional<StandardSchema>('one that follows Standard Schema', isSchema),
  out: optional<StandardSchema>('one that follows Standard Schema', isSchema),
  invalid: {
    fallback: 'close',
    expected: `'close' or 'drop'`,
    isValid: (value) => value === 'close' || value === 'drop',
  } as Rule<'close' | 'drop'>,
  timeout: milliseconds(5_000, 1),
}

/**
 * Returns a format for the option `messages`: each message is one JSON value, sent as text.
 *
 * With schemas that follow Standard Schema (zod, valibot, arktype), each received message is checked
 * by `in`. Without them the types are taken as given: `json<In, Out>()`.
 *
 * A message that isn't JSON closes with 1007. One that `in` refuses closes with 1008, or is dropped.
 *
 * @throws TypeError for an option that is unknown or invalid.
 */
export function json<In = unknown, Out = unknown>(
  options: JsonOptions<In, Out> = {},
): Messages<In, Out> {
  const { in: schema, invalid, timeout } = resolveOptions(rules, options)
  const decode = (data: Data): unknown => {
    const value = parse(data)
    return schema ? validate(schema, value) : value
  }
  return toMessages({ encode: stringify, decode, dropsInvalid: invalid === 'drop', timeout })
}

function stringify(message: unknown): string {
  const text = tryStringify(message)
  if (text !== undefined) return text
  throw invalidArgument(`what is sent can't be JSON: it is ${typeof message}`)
}

function tryStringify(message: unknown): string | undefined {
  try {
    return JSON.stringify(message)
  } catch (cause) {
    const [reason = ''] = messageOf(cause).split('\n')
    throw invalidArgument(`what is sent can't be JSON: ${reason}`, cause)
  }
}

function parse(data: Data): unknown {
  try {
    const text = typeof data === 'string' ? data : decoder.decode(data)
    if (nestsDeeper(text, MAX_DEPTH)) {
      throw new InvalidMessage(1007, `JSON nested deeper than ${MAX_DEPTH} levels`)
    }
    return JSON.parse(text)
  } catch (cause) {
    throw cause instanceof InvalidMessage
      ? cause
      : new InvalidMessage(1007, 'expected JSON', { cause })
  }
}

function validate(schema: StandardSchema, value: unknown): unknown {
  const result = schema['~standard'].validate(value)
  return isPromise(result) ? result.then(valueOf) : valueOf(result)
}

function valueOf(result: StandardResult<unknown>): unknown {
  if (!result.issues) return result.value
  const issues = result.issues.slice(0, MAX_ISSUES)
  const [first] = issues
  const path = first?.path?.map((step) => String(typeof step === 'object' ? step.key : step)) ?? []
  const place = path.length > 0 ? `${path.join('.')}: ` : ''
  throw new InvalidMessage(1008, `invalid message: ${place}${first?.message ?? ''}`, { issues })
}
