import type { ClientOptions, ReconnectOptions } from '../../options/client.ts'
import type { ValueOrProvider } from '../../options/value-or-provider.ts'
import {
  checkNames,
  isFunction,
  isArray,
  isObject,
  milliseconds,
  optional,
  orFalse,
  resolveOptions,
  type Rule,
  type Resolved,
  invalidArgument,
} from '../../validation.ts'
import type { ChannelError } from '../errors.ts'
import { phoenix } from '../protocol/phoenix.ts'
import type { Serializer } from '../protocol/serializer.ts'
import type { Params } from './endpoint-url.ts'
import { resolveReconnect, type Credentials } from './retry-policy.ts'

/** The conditions under which a channel joins again by itself. */
export interface RejoinOptions {
  /**
   * Returns the milliseconds before an attempt. `attempt` is 1 for the first one in a row.
   *
   * @default a random part, at least half, of 1 s, 2 s, 5 s, and then 10 s
   */
  delay?: ((attempt: number) => number) | undefined
  /**
   * Returns whether to make another attempt after a join was refused or not answered, or after the
   * membership crashed.
   *
   * @default always
   */
  when?: ((error: ChannelError) => boolean) | undefined
}

/**
 * Receives a log entry: its kind (`transport`, `channel`, `push`, `receive`), a message, and the
 * data.
 */
export type Logger = (kind: string, message: string, data: unknown) => void

/** The options of a `ChannelClient`, with those of the `WebsocketClient` that it uses. */
export interface ChannelClientOptions extends Omit<
  ClientOptions,
  'protocols' | 'binary' | 'messages'
> {
  /**
   * The serializer of the protocol that the server speaks.
   *
   * @default phoenix
   */
  serializer?: Serializer | undefined
  /**
   * The parameters in the query of the url. A function is called at every attempt.
   *
   * @default none
   */
  params?: ValueOrProvider<Params> | undefined
  /**
   * A token that is sent as a subprotocol. A function is called at every attempt.
   *
   * @default none
   */
  authToken?: ValueOrProvider<string> | undefined
  /**
   * Milliseconds that a join, a push or a leave waits for its reply.
   *
   * @default 10_000
   */
  timeout?: number | undefined
  /**
   * Milliseconds from the answer of one heartbeat to the next heartbeat, and from an unanswered
   * heartbeat until the client drops the connection. With false the client sends none.
   *
   * @default 30_000 for Phoenix, false for Amber
   */
  heartbeat?: number | false | undefined
  /**
   * Whether the client connects again by itself: true, or when and how often.
   *
   * With true the client connects again after every close code. It waits for a random part, at
   * least half, of 10, 50, 100, 150, 200, 250, 500, 1000, 2000, and then 5000 ms. An HTTP status
   * from 400 to 499 is final, except 408, 425 and 429. So are 401 and 403, unless `params`,
   * `authToken`, `headers` or the url is a function, which may return a fresh credential: then the
   * client tries again every 5000 ms, less the random part.
   *
   * @default true
   */
  reconnect?: boolean | ReconnectOptions | undefined
  /**
   * Whether channels join again by themselves: true, or when.
   *
   * @default true
   */
  rejoin?: boolean | RejoinOptions | undefined
  /**
   * The function that receives the log entries.
   *
   * @default none
   */
  logger?: Logger | undefined
}

function isRejoinOptions(value: unknown): boolean {
  if (typeof value === 'boolean') return true
  if (!isObject(value) || isArray(value)) return false
  checkNames(value, ['delay', 'when'], 'rejoin.')
  return Object.values(value).every((option) => option === undefined || isFunction(option))
}

const isSerializer = (value: unknown): boolean =>
  isObject(value) && 'client' in value && 'keepaliveTimings' in value

const rules = {
  serializer: {
    fallback: phoenix,
    expected: 'a serializer: phoenix, phoenixV1, amber',
    isValid: isSerializer,
  } as Rule<Serializer>,
  params: {
    fallback: {},
    expected: 'an object, or a function that returns one',
    isValid: (value) => isFunction(value) || (isObject(value) && !isArray(value)),
  } as Rule<ValueOrProvider<Params>>,
  authToken: optional<ValueOrProvider<string>>(
    'a string, or a function that returns one',
    (value) => typeof value === 'string' || isFunction(value),
  ),
  timeout: milliseconds(10_000, 1),
  heartbeat: optional<number | false>(
    'milliseconds from 1 up, or false',
    orFalse(milliseconds(30_000, 1), false).isValid,
  ),
  rejoin: {
    fallback: true,
    expected: 'true, false, or { delay and when (functions) }',
    isValid: isRejoinOptions,
  } as Rule<boolean | RejoinOptions>,
  logger: optional<Logger>('a function', isFunction),
}

/** The names of the options that the `WebsocketClient` resolves. */
const WEBSOCKET_OPTIONS: readonly string[] = [
  'headers',
  'tls',
  'agent',
  'connectTimeout',
  'reconnect',
  'maxReceivedMessageSize',
  'maxWaitingBytes',
  'maxReceivedFrameSize',
  'messageTimeout',
  'fragmentationThreshold',
  'closeTimeout',
  'keepaliveTimeout',
  'useNagleAlgorithm',
  'compression',
  'maxBufferedAmount',
  'slowConsumer',
  'highWaterMark',
] satisfies readonly (keyof ChannelClientOptions)[]

/** A channel client's own options, resolved. */
export type ChannelClientSettings = Resolved<typeof rules>

/**
 * Resolves a channel client's options, and separates those of the `WebsocketClient` that it uses.
 */
export function resolveChannelClient(options: ChannelClientOptions = {}): {
  settings: ChannelClientSettings
  clientOptions: ClientOptions
  credentials: Credentials
} {
  checkNames(options, [...Object.keys(rules), ...WEBSOCKET_OPTIONS])
  const entries = Object.entries(options) as [string, unknown][]
  const ownEntries = entries.filter(([name]) => !WEBSOCKET_OPTIONS.includes(name))
  const settings = resolveOptions(rules, Object.fromEntries(ownEntries))
  const websocketOptions: ClientOptions = Object.fromEntries(
    entries.filter(([name]) => WEBSOCKET_OPTIONS.includes(name)),
  )
  const { reconnect = true } = websocketOptions
  const protocols = authSubprotocols(settings)
  const credentials = {
    mayChange: [settings.params, settings.authToken, websocketOptions.headers].some(isFunction),
  }
  const policy = resolveReconnect(reconnect, credentials)
  const clientOptions = { ...websocketOptions, reconnect: policy, ...(protocols && { protocols }) }
  return { settings, clientOptions, credentials }
}

function authSubprotocols({
  authToken,
  serializer,
}: ChannelClientSettings): ValueOrProvider<readonly string[]> | undefined {
  const { protocolsFor, name } = serializer
  if (authToken === undefined) return undefined
  if (!protocolsFor) throw invalidArgument(`${name} has no \`authToken\`: put it into \`params\``)
  if (typeof authToken !== 'function') return protocolsFor(authToken)
  return async () => protocolsFor(await authToken())
}
