import {
  checkNames,
  count,
  isList,
  isObject,
  isWhole,
  milliseconds,
  orFalse,
  settle,
  type Rule,
  type Settled,
} from '../options/rules.ts'
import { amber } from './amber.ts'
import type { Serializer } from './frame.ts'
import { phoenix, phoenixV1 } from './phoenix.ts'

/** How many joins of one connection are handled at once, and how many each second from then on. */
export interface JoinRate {
  /**
   * The joins that are handled without a wait.
   *
   * @default 100, or `maxChannels` where that is more: a client may join all its channels anew at once
   */
  burst?: number | undefined
  /**
   * The joins that are handled each second after a burst.
   *
   * @default 20
   */
  perSecond?: number | undefined
}

/** Is what a `ChannelServer` lets you choose. */
export interface ChannelServerOptions {
  /** The dialects it speaks; the first that a request asks for counts. Default: all there are. */
  serializers?: readonly Serializer[] | undefined
  /** Milliseconds that a join may stay unanswered before it is refused. Default: 5_000. */
  joinTimeout?: number | undefined
  /** How many channels a connection may have; another join is refused. Default: 100. */
  maxChannels?: number | false | undefined
  /**
   * How fast the joins of one connection are handled. Past it they wait for their turn, in their order;
   * none is refused for it, and nothing else waits.
   *
   * @default { burst: 100, perSecond: 20 }
   */
  joinRate?: JoinRate | false | undefined
}

const isSerializer = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && 'matches' in value && 'signs' in value

function isJoinRate(value: unknown): boolean {
  if (value === false) return true
  if (!isObject(value) || isList(value)) return false
  checkNames(value, ['burst', 'perSecond'], 'joinRate.')
  const { burst = 1, perSecond = 1 }: JoinRate = value
  return isWhole(burst, 1) && isWhole(perSecond, 1)
}

const rules = {
  serializers: {
    fallback: [phoenix, phoenixV1, amber],
    wanted: 'a list of serializers: phoenix, phoenixV1, amber',
    accepts: (value) => Array.isArray(value) && value.length > 0 && value.every(isSerializer),
  } as Rule<readonly Serializer[]>,
  joinTimeout: milliseconds(5_000, 1),
  maxChannels: orFalse(count(), 100),
  joinRate: {
    fallback: {},
    wanted: 'false, or { burst, perSecond } of whole numbers from 1 up',
    accepts: isJoinRate,
  } as Rule<JoinRate | false>,
}

/** Every option of a channel server, settled. */
export interface ChannelServerSettings extends Omit<Settled<typeof rules>, 'joinRate'> {
  readonly joinRate: { readonly burst: number; readonly perSecond: number }
}

const BURST = 100
const PER_SECOND = 20

/** Settles the options of a channel server. */
export function resolveChannels(given?: ChannelServerOptions): ChannelServerSettings {
  const { joinRate, ...settings } = settle(rules, given)
  if (joinRate === false) {
    return { ...settings, joinRate: { burst: Infinity, perSecond: Infinity } }
  }
  const mostChannels = settings.maxChannels === false ? 0 : settings.maxChannels
  const { burst = Math.max(BURST, mostChannels), perSecond = PER_SECOND } = joinRate
  return { ...settings, joinRate: { burst, perSecond } }
}
