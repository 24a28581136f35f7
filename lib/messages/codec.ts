import type { Data, SendData } from '../connection/message.ts'
import { isPromise } from '../promises.ts'
import { isFunction, invalidValue, milliseconds, resolveOptions, type Rule } from '../validation.ts'
import { InvalidMessage } from './invalid-message.ts'
import { toMessages, type Messages } from './messages.ts'

/** The options of `codec`: a format of your own. */
export interface CodecOptions<In, Out> {
  /** Encodes a message that is sent: returns text or bytes. */
  encode(message: Out): SendData
  /**
   * Decodes a received message. A function that throws, or whose promise rejects, closes the
   * connection with 1007.
   */
  decode(data: Data): In | PromiseLike<In>
  /**
   * Milliseconds that an asynchronous `decode` may take for one message.
   *
   * @default 5_000
   */
  timeout?: number | undefined
}

const required: Rule<((value: never) => unknown) | undefined> = {
  fallback: undefined,
  expected: 'a function',
  isValid: isFunction,
}

const rules = { encode: required, decode: required, timeout: milliseconds(5_000, 1) }

/**
 * Returns a format of your own for the option `messages`, such as MessagePack.
 *
 * @throws TypeError for an option that is unknown, missing or invalid.
 */
export function codec<In, Out = In>(options: CodecOptions<In, Out>): Messages<In, Out> {
  const { timeout } = resolveOptions(rules, options)
  for (const name of ['encode', 'decode']) {
    const value: unknown = Reflect.get(options, name)
    if (!isFunction(value)) throw invalidValue(`\`${name}\``, 'a function', value)
  }
  return toMessages({
    encode: (message) => options.encode(message),
    decode: (data) => refuseFailure(() => options.decode(data)),
    dropsInvalid: false,
    timeout,
  })
}

/** Calls the program's `decode`. A failure of it means that the message is invalid. */
function refuseFailure(decode: () => unknown): unknown {
  const refuse = (cause: unknown): never => {
    throw new InvalidMessage(1007, 'could not decode the message', { cause })
  }
  try {
    const message = decode()
    return isPromise(message) ? message.then(undefined, refuse) : message
  } catch (cause) {
    return refuse(cause)
  }
}
