import type { Agent } from 'node:http'
import type { ConnectionOptions as TlsOptions } from 'node:tls'
import type { CloseReason } from '../connection/close-codes.ts'
import type { Data, SendData } from '../connection/message.ts'
import type { ConnectError } from '../errors.ts'
import { areProtocols, type ValueOrProvider } from './value-or-provider.ts'
import { connectionRules, MIB, type ConnectionOptions } from './connection.ts'
import {
  bytes,
  checkNames,
  isFunction,
  isArray,
  isObject,
  isIntegerFrom,
  milliseconds,
  type Rule,
  type Resolved,
} from '../validation.ts'
import type { nodeClientRules } from './node-only.ts'

/** The options of a `WebsocketClient`. */
export interface ClientOptions<In = Data, Out = SendData> extends ConnectionOptions<In, Out> {
  /**
   * The subprotocols to offer.
   *
   * @default none
   */
  protocols?: ValueOrProvider<readonly string[]> | undefined
  /**
   * The headers of the request. Those of the handshake itself can't be changed.
   *
   * @default none
   */
  headers?: ValueOrProvider<Readonly<Record<string, string>>> | undefined
  /**
   * The options for Node's `tls.connect`.
   *
   * @default none
   */
  tls?: TlsOptions | undefined
  /**
   * The agent that opens the TCP connection, for example through a proxy.
   *
   * @default none
   */
  agent?: Agent | undefined
  /**
   * Milliseconds until the client gives up an attempt to connect.
   *
   * @default 10_000
   */
  connectTimeout?: number | undefined
  /**
   * Whether the client connects again after it could not connect or lost its connection: true, or
   * when and how often.
   *
   * @default false
   */
  reconnect?: boolean | ReconnectOptions | undefined
}

/** The options that say when a client connects again, and how often. */
export interface ReconnectOptions {
  /**
   * The maximum number of attempts in a row that fail, or whose connection lasts less than 10 s;
   * false for no limit.
   *
   * @default false
   */
  attempts?: number | false | undefined
  /**
   * The function that returns the milliseconds before an attempt; `attempt` is 1 for the first one
   * in a row.
   *
   * The delay that the dialled server has asked for (Retry-After, `retry=MS`) is added.
   *
   * @default a random part of 1 s, 2 s, 4 s … up to 30 s
   */
  delay?: ((attempt: number) => number) | undefined
  /**
   * The function that decides whether there is another attempt. `usual` is the decision without
   * this option: true, except after the close codes 1000, 1002 and 1008, and after an HTTP status
   * from 400 to 499 other than 408, 425 and 429.
   *
   * @default `usual`
   */
  when?: ((cause: ConnectError | CloseReason, usual: boolean) => boolean) | undefined
}

function isReconnect(value: unknown): boolean {
  if (typeof value === 'boolean') return true
  if (!isObject(value) || isArray(value)) return false
  checkNames(value, ['attempts', 'delay', 'when'], 'reconnect.')
  const { attempts = false, delay, when }: Partial<Record<string, unknown>> = { ...value }
  const functions = [delay, when].filter((option) => option !== undefined)
  return (attempts === false || isIntegerFrom(attempts, 1)) && functions.every(isFunction)
}

/** The rules of the options that every client has, on every platform. */
export const clientRules = {
  ...connectionRules,
  maxReceivedMessageSize: bytes(8 * MIB),
  protocols: {
    fallback: [],
    expected: 'an array of different names without space, / and =, or a function that returns one',
    isValid: (value) => isFunction(value) || areProtocols(value),
  } as Rule<ValueOrProvider<readonly string[]>>,
  connectTimeout: milliseconds(10_000, 1),
  reconnect: {
    fallback: false,
    expected: 'true, false, or { attempts (from 1 up, or false), delay and when (functions) }',
    isValid: isReconnect,
  } as Rule<boolean | ReconnectOptions>,
}

/** The validated options of a client, with the defaults filled in. */
export type ClientSettings = Resolved<typeof clientRules & typeof nodeClientRules>
