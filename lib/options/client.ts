import type { Agent } from 'node:http'
import type { ConnectionOptions as TlsOptions } from 'node:tls'
import type { CloseReason } from '../close.ts'
import type { ConnectError } from '../errors.ts'
import { areProtocols, type Asked } from './asked.ts'
import { connectionRules, MIB, type ConnectionOptions } from './connection.ts'
import {
  bytes,
  checkNames,
  isFunction,
  isList,
  isObject,
  isWhole,
  milliseconds,
  type Rule,
  type Settled,
} from './rules.ts'
import type { dialRules } from './wire.ts'

/** Is what a `WebsocketClient` lets you choose. */
export interface ClientOptions extends ConnectionOptions {
  /** The subprotocols to offer. Default: none. */
  protocols?: Asked<readonly string[]> | undefined
  /** Headers of the request; those of the handshake itself can't be changed. Default: none. */
  headers?: Asked<Readonly<Record<string, string>>> | undefined
  /** What Node's `tls.connect` takes. Default: Node's own. */
  tls?: TlsOptions | undefined
  /** The agent that connects, for a proxy say. Default: none. */
  agent?: Agent | undefined
  /** Milliseconds until an attempt to connect is given up. Default: 10_000. */
  connectTimeout?: number | undefined
  /**
   * Whether it connects again after it could not, or its connection was lost: true, or when and how
   * often. Default: false.
   */
  reconnect?: boolean | Reconnection | undefined
}

/** When a client connects again, and how often. */
export interface Reconnection {
  /** How many attempts in a row may come to nothing, or to less than 10 s. Default: false. */
  attempts?: number | false | undefined
  /**
   * Is asked for the milliseconds before an attempt, 1 for the first one in a row.
   *
   * What the server that is dialled has asked for (Retry-After, `retry=MS`) comes on top. Default: a random part of 1 s,
   * 2 s, 4 s … up to 30 s.
   */
  delay?: ((attempt: number) => number) | undefined
  /**
   * Decides whether there is another attempt; `usual` is what the default says. Default: there is, but
   * not after the close codes 1000, 1002 and 1008, nor an HTTP status from 400 to 499 other than 408,
   * 425 and 429.
   */
  when?: ((cause: ConnectError | CloseReason, usual: boolean) => boolean) | undefined
}

function isReconnection(value: unknown): boolean {
  if (typeof value === 'boolean') return true
  if (!isObject(value) || isList(value)) return false
  checkNames(value, ['attempts', 'delay', 'when'], 'reconnect.')
  const { attempts = false, delay, when }: Partial<Record<string, unknown>> = { ...value }
  const functions = [delay, when].filter((given) => given !== undefined)
  return (attempts === false || isWhole(attempts, 1)) && functions.every(isFunction)
}

/** The rules of what every client has, wherever it is. */
export const clientRules = {
  ...connectionRules,
  maxReceivedMessageSize: bytes(8 * MIB),
  protocols: {
    fallback: [],
    wanted: 'an array of different subprotocol names, or a function that returns one',
    accepts: (value) => isFunction(value) || areProtocols(value),
  } as Rule<Asked<readonly string[]>>,
  connectTimeout: milliseconds(10_000, 1),
  reconnect: {
    fallback: false,
    wanted: 'true, false, or { attempts (from 1 up, or false), delay and when (functions) }',
    accepts: isReconnection,
  } as Rule<boolean | Reconnection>,
}

/** Every option of a client, settled. */
export type ClientSettings = Settled<typeof clientRules & typeof dialRules>
