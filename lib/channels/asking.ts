import { isWorthRetry } from '../backoff.ts'
import type { CloseReason } from '../close.ts'
import { ConnectError, type ChannelError } from '../errors.ts'
import type { Asked } from '../options/asked.ts'
import type { ClientOptions, Reconnection } from '../options/client.ts'
import {
  checkNames,
  isFunction,
  isList,
  isObject,
  milliseconds,
  optional,
  orFalse,
  settle,
  type Rule,
  type Settled,
} from '../options/rules.ts'
import type { Params } from './address.ts'
import type { Serializer } from './frame.ts'
import { phoenix } from './phoenix.ts'

/** When a channel joins again by itself. */
export interface Rejoining {
  /**
   * Is asked for the milliseconds before an attempt, 1 for the first one in a row. Default: a random
   * part, at least half, of 1 s, 2 s, 5 s, and then 10 s.
   */
  delay?: ((attempt: number) => number) | undefined
  /**
   * Decides whether there is another attempt after a join that was refused or not answered, or a
   * membership that crashed. Default: there is.
   */
  when?: ((error: ChannelError) => boolean) | undefined
}

/** Hears of what happens: a kind (`transport`, `channel`, `push`, `receive`), words, and the data. */
export type Logger = (kind: string, message: string, data: unknown) => void

/** Is what a `ChannelClient` lets you choose, besides what a `WebsocketClient` does. */
export interface ChannelClientOptions extends Omit<ClientOptions, 'protocols' | 'binary'> {
  /** The dialect it speaks. Default: `phoenix`. */
  serializer?: Serializer | undefined
  /** What goes into the query of the url; a function is asked at every attempt. Default: nothing. */
  params?: Asked<Params> | undefined
  /** A token that travels as a subprotocol; a function is asked at every attempt. Default: none. */
  authToken?: Asked<string> | undefined
  /** Milliseconds that a join, a push or a leave waits for its reply. Default: 10_000. */
  timeout?: number | undefined
  /**
   * Milliseconds from the answer of one heartbeat to the next, and until one unanswered drops the
   * connection; false: none. Default: what the serializer says, 30_000 in Phoenix.
   */
  heartbeat?: number | false | undefined
  /**
   * Whether it connects again: true, or when and how often.
   *
   * With true it does so whatever the close code, after a random part, at least half, of 10, 50, 100,
   * 150, 200, 250, 500, 1000, 2000, and then 5000 ms. HTTP 400 to 499 is final, except 408, 425 and
   * 429. So are 401 and 403, unless `params`, `authToken`, `headers` or the url is a function, which
   * may give a fresh credential: then it tries again every 5000 ms, less the random part.
   *
   * @default true
   */
  reconnect?: boolean | Reconnection | undefined
  /** Whether channels join again by themselves: true, or when. Default: true. */
  rejoin?: boolean | Rejoining | undefined
  /** Hears of what happens. Default: nobody. */
  logger?: Logger | undefined
}

const RECONNECT = [10, 50, 100, 150, 200, 250, 500, 1_000, 2_000, 5_000]
const REJOIN = [1_000, 2_000, 5_000, 10_000]

/** Draws a delay of a list, whose last one holds for ever: half of it at least. */
function jittered(delays: readonly number[], attempt: number): number {
  const delay = delays[Math.min(attempt, delays.length) - 1] ?? 0
  return Math.round((delay * (1 + Math.random())) / 2)
}

/** Is the delay before a channel joins again. */
export const rejoinDelay = (attempt: number): number => jittered(REJOIN, attempt)

/** The credentials that a client connects with. */
export interface Credentials {
  /** Whether one of them is asked for at every attempt, so that the next one may be let in. */
  mayChange: boolean
}

/** What a channel client does where nothing else is chosen. */
interface UsualReconnection {
  readonly delay: (attempt: number) => number
  readonly when: (cause: ConnectError | CloseReason) => boolean
}

function isUnauthorized(cause: ConnectError | CloseReason): boolean {
  return cause instanceof ConnectError && (cause.status === 401 || cause.status === 403)
}

/** Phoenix's pace; of close codes none is final, as it says nothing by them. */
function reconnectionWith(credentials: Credentials): UsualReconnection {
  let isSlow = false
  return {
    delay: (attempt) => jittered(RECONNECT, isSlow ? RECONNECT.length : attempt),
    when: (cause) => {
      isSlow = isUnauthorized(cause)
      if (isSlow) return credentials.mayChange
      return !(cause instanceof ConnectError) || isWorthRetry(cause)
    },
  }
}

function isRejoining(value: unknown): boolean {
  if (typeof value === 'boolean') return true
  if (!isObject(value) || isList(value)) return false
  checkNames(value, ['delay', 'when'], 'rejoin.')
  return Object.values(value).every((given) => given === undefined || isFunction(given))
}

const isSerializer = (value: unknown): boolean =>
  isObject(value) && 'client' in value && 'signs' in value

const rules = {
  serializer: {
    fallback: phoenix,
    wanted: 'a serializer: phoenix, phoenixV1, amber',
    accepts: isSerializer,
  } as Rule<Serializer>,
  params: {
    fallback: {},
    wanted: 'an object, or a function that returns one',
    accepts: (value) => isFunction(value) || (isObject(value) && !isList(value)),
  } as Rule<Asked<Params>>,
  authToken: optional<Asked<string>>(
    'a string, or a function that returns one',
    (value) => typeof value === 'string' || isFunction(value),
  ),
  timeout: milliseconds(10_000, 1),
  heartbeat: optional<number | false>(
    'milliseconds from 1 up, or false',
    orFalse(milliseconds(30_000, 1), false).accepts,
  ),
  rejoin: {
    fallback: true,
    wanted: 'true, false, or { delay and when (functions) }',
    accepts: isRejoining,
  } as Rule<boolean | Rejoining>,
  logger: optional<Logger>('a function', isFunction),
}

/** What a `WebsocketClient` settles by its own rules. */
const passedOn: readonly string[] = [
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

/** Every option that is a channel client's own, settled. */
export type ChannelClientSettings = Settled<typeof rules>

/** Settles the options of a channel client, and those of the client that it dials with. */
export function resolveChannelClient(given: ChannelClientOptions = {}): {
  settings: ChannelClientSettings
  dialling: ClientOptions
  credentials: Credentials
} {
  checkNames(given, [...Object.keys(rules), ...passedOn])
  const entries = Object.entries(given) as [string, unknown][]
  const own = entries.filter(([name]) => !passedOn.includes(name))
  const settings = settle(rules, Object.fromEntries(own))
  const rest: ClientOptions = Object.fromEntries(
    entries.filter(([name]) => passedOn.includes(name)),
  )
  const { reconnect = true } = rest
  const protocols = offered(settings)
  const credentials = {
    mayChange: [settings.params, settings.authToken, rest.headers].some(isFunction),
  }
  const policy = policyOf(reconnect, reconnectionWith(credentials))
  const dialling = { ...rest, reconnect: policy, ...(protocols && { protocols }) }
  return { settings, dialling, credentials }
}

/** What is chosen of a policy is asked, and told what is usual; for the rest the usual holds. */
function policyOf(
  given: NonNullable<ClientOptions['reconnect']>,
  usual: UsualReconnection,
): boolean | Reconnection {
  if (typeof given === 'boolean') return given && usual
  if (!isObject(given)) return given // the client says what is wrong with it
  const chosen = Object.entries(given).filter(([, value]) => value !== undefined)
  const policy = { ...usual, ...Object.fromEntries(chosen) }
  const { when } = given
  return isFunction(when) ? { ...policy, when: (cause) => when(cause, usual.when(cause)) } : policy
}

function offered({
  authToken,
  serializer,
}: ChannelClientSettings): Asked<readonly string[]> | undefined {
  const { protocolsFor, name } = serializer
  if (authToken === undefined) return undefined
  if (!protocolsFor) throw new TypeError(`${name} has no \`authToken\`: put it into \`params\``)
  if (typeof authToken !== 'function') return protocolsFor(authToken)
  return async () => protocolsFor(await authToken())
}
