import { unexpected } from '../../errors.ts'
import {
  bytes,
  count,
  isFunction,
  isObject,
  isWhole,
  milliseconds,
  optional,
  settle,
  type Settled,
} from '../../options/rules.ts'
import type { HistoryStore } from './store.ts'

/** The options of a topic's history. */
export interface HistoryOptions {
  /**
   * Messages kept of each topic.
   *
   * @default 100
   */
  size?: number | undefined
  /**
   * Milliseconds for which a message is kept. The position of a topic is known for a day longer.
   *
   * @default 300_000
   */
  ttl?: number | undefined
  /**
   * Bytes kept of each topic, measured as the length of its texts.
   *
   * @default 1_048_576 (1 MiB)
   */
  maxBytes?: number | undefined
  /**
   * How many of the latest messages a member is given that joins anew.
   *
   * @default 0
   */
  backlog?: number | undefined
  /**
   * Milliseconds that a message or a join waits for the store.
   *
   * @default 1_000
   */
  timeout?: number | undefined
  /**
   * The store that assigns the offsets. A server with a backplane needs one with `subscribe`.
   *
   * @default the memory of this process, 64 MiB for all topics of a ChannelServer
   */
  store?: HistoryStore | undefined
}

const rules = {
  size: { ...count(), fallback: 100 },
  ttl: milliseconds(300_000, 1),
  maxBytes: bytes(1024 * 1024),
  backlog: {
    fallback: 0,
    wanted: 'a whole number from 0 up',
    accepts: (value: unknown) => isWhole(value, 0),
  },
  timeout: milliseconds(1_000, 1),
  store: optional<HistoryStore>(
    'an object with `append` and `read`, such as redisHistory()',
    isStore,
  ),
}

/** Every option of a history, settled. */
export type HistorySettings = Settled<typeof rules>

/**
 * Settles the options of a history, on a server with a backplane or without.
 *
 * @throws TypeError for an option that is unknown or can't be, and for a store that serves one node
 * where there may be more.
 */
export function resolveHistory(given: HistoryOptions, hasNodes: boolean): HistorySettings {
  if (!isObject(given)) throw unexpected('`history`', 'an object, such as { size: 100 }', given)
  const settings = settle(rules, given)
  const { store } = settings
  if (!hasNodes || (store && isFunction(Reflect.get(store, 'subscribe')))) return settings
  const wanted = 'one with `subscribe`, such as redisHistory(), as the server has a backplane'
  throw unexpected('the `store` of `history`', wanted, store)
}

function isStore(value: unknown): boolean {
  if (!isObject(value)) return false
  return ['append', 'read'].every((name) => isFunction(Reflect.get(value, name)))
}
