import {
  checkNames,
  count,
  isArray,
  isObject,
  isIntegerFrom,
  milliseconds,
  orFalse,
  resolveOptions,
  type Rule,
  type Resolved,
} from '../../validation.ts'
import { amber } from '../protocol/amber.ts'
import { phoenix, phoenixV1 } from '../protocol/phoenix.ts'
import type { Serializer } from '../protocol/serializer.ts'

/** The rate at which the joins of one connection are handled: a burst, then so many each second. */
export interface JoinRate {
  /**
   * The number of joins that are handled without a wait. By default a client may rejoin all its
   * channels at once.
   *
   * @default 100, or `maxChannels` if that is more
   */
  burst?: number | undefined
  /**
   * The number of joins that are handled each second after a burst.
   *
   * @default 20
   */
  perSecond?: number | undefined
}

/** The options of a `ChannelServer`. */
export interface ChannelServerOptions {
  /**
   * The serializers of the protocols that the server speaks. The first one that matches a request
   * is used.
   *
   * @default [phoenix, phoenixV1, amber]
   */
  serializers?: readonly Serializer[] | undefined
  /**
   * Milliseconds that a join may stay unanswered before it is refused.
   *
   * @default 5_000
   */
  joinTimeout?: number | undefined
  /**
   * The maximum number of channels of one connection. Further joins are refused.
   *
   * @default 100
   */
  maxChannels?: number | false | undefined
  /**
   * The rate at which the joins of one connection are handled. Joins beyond it wait in their order.
   * None is refused for it, and nothing else waits.
   *
   * @default { burst: 100, perSecond: 20 }
   */
  joinRate?: JoinRate | false | undefined
}

const isSerializer = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && 'matches' in value && 'keepaliveTimings' in value

function isJoinRate(value: unknown): boolean {
  if (value === false) return true
  if (!isObject(value) || isArray(value)) return false
  checkNames(value, ['burst', 'perSecond'], 'joinRate.')
  const { burst = 1, perSecond = 1 }: JoinRate = value
  return isIntegerFrom(burst, 1) && isIntegerFrom(perSecond, 1)
}

const rules = {
  serializers: {
    fallback: [phoenix, phoenixV1, amber],
    expected: 'a list of serializers: phoenix, phoenixV1, amber',
    isValid: (value) => Array.isArray(value) && value.length > 0 && value.every(isSerializer),
  } as Rule<readonly Serializer[]>,
  joinTimeout: milliseconds(5_000, 1),
  maxChannels: orFalse(count(), 100),
  joinRate: {
    fallback: {},
    expected: 'false, or { burst, perSecond } of whole numbers from 1 up',
    isValid: isJoinRate,
  } as Rule<JoinRate | false>,
}

/** The resolved options of a channel server. */
export interface ChannelServerSettings extends Omit<Resolved<typeof rules>, 'joinRate'> {
  readonly joinRate: { readonly burst: number; readonly perSecond: number }
}

const DEFAULT_BURST = 100
const DEFAULT_PER_SECOND = 20

/** Resolves the options of a channel server with their defaults. */
export function resolveChannelOptions(options?: ChannelServerOptions): ChannelServerSettings {
  const { joinRate, ...settings } = resolveOptions(rules, options)
  if (joinRate === false) {
    return { ...settings, joinRate: { burst: Infinity, perSecond: Infinity } }
  }
  const maxChannels = settings.maxChannels === false ? 0 : settings.maxChannels
  const { burst = Math.max(DEFAULT_BURST, maxChannels), perSecond = DEFAULT_PER_SECOND } = joinRate
  return { ...settings, joinRate: { burst, perSecond } }
}
