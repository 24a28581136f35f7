import { count, milliseconds, orFalse, settle, type Rule, type Settled } from '../options/rules.ts'
import { amber } from './amber.ts'
import type { Serializer } from './frame.ts'
import { phoenix, phoenixV1 } from './phoenix.ts'

/** Is what a `ChannelServer` lets you choose. */
export interface ChannelServerOptions {
  /** The dialects it speaks; the first that a request asks for counts. Default: all there are. */
  serializers?: readonly Serializer[] | undefined
  /** Milliseconds that a join may stay unanswered before it is refused. Default: 5_000. */
  joinTimeout?: number | undefined
  /** How many channels a connection may have; another join is refused. Default: 100. */
  maxChannels?: number | false | undefined
}

const isSerializer = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && 'matches' in value && 'signs' in value

const rules = {
  serializers: {
    fallback: [phoenix, phoenixV1, amber],
    wanted: 'a list of serializers: phoenix, phoenixV1, amber',
    accepts: (value) => Array.isArray(value) && value.length > 0 && value.every(isSerializer),
  } as Rule<readonly Serializer[]>,
  joinTimeout: milliseconds(5_000, 1),
  maxChannels: orFalse(count(), 100),
}

/** Every option of a channel server, settled. */
export type ChannelServerSettings = Settled<typeof rules>

/** Settles the options of a channel server. */
export function resolveChannels(given?: ChannelServerOptions): ChannelServerSettings {
  return settle(rules, given)
}
