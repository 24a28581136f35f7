import {
  bytes,
  count,
  isFunction,
  isObject,
  isIntegerFrom,
  milliseconds,
  optional,
  resolveOptions,
  type Resolved,
  invalidValue,
} from '../../validation.ts'
import type { HistoryStore } from './store.ts'

/** The options of a topic's history. */
export interface HistoryOptions {
  /**
   * Maximum number of messages kept of each topic.
   *
   * @default 100
   */
  size?: number | undefined
  /**
   * Milliseconds for which a message is kept. The position of a topic is kept for a day longer.
   *
   * @default 300_000
   */
  ttl?: number | undefined
  /**
   * Maximum bytes kept of each topic, measured as the length of its texts.
   *
   * @default 1 MiB
   */
  maxBytes?: number | undefined
  /**
   * Number of the latest messages that a new member receives.
   *
   * @default 0
   */
  backlog?: number | undefined
  /**
   * Maximum milliseconds that a message or a join waits for the store.
   *
   * @default 1_000
   */
  timeout?: number | undefined
  /**
   * The store that assigns the offsets. A server with a backplane needs one with `subscribe`.
   * Without this option all topics of a ChannelServer share one `memoryHistory()`.
   *
   * @default the memory of this process
   */
  store?: HistoryStore | undefined
}

const rules = {
  size: { ...count(), fallback: 100 },
  ttl: milliseconds(300_000, 1),
  maxBytes: bytes(1024 * 1024),
  backlog: {
    fallback: 0,
    expected: 'a whole number from 0 up',
    isValid: (value: unknown) => isIntegerFrom(value, 0),
  },
  timeout: milliseconds(1_000, 1),
  store: optional<HistoryStore>(
    'an object with `append` and `read`, such as redisHistory()',
    isStore,
  ),
}

/** The options of a history, with all defaults applied. */
export type HistorySettings = Resolved<typeof rules>

/**
 * Checks the options of a history, and applies the defaults. `hasBackplane` says whether the server
 * may have other nodes.
 *
 * @throws TypeError for an unknown or invalid option, and for a store without `subscribe` on a
 * server with a backplane.
 */
export function resolveHistory(options: HistoryOptions, hasBackplane: boolean): HistorySettings {
  if (!isObject(options)) {
    throw invalidValue('`history`', 'an object, such as { size: 100 }', options)
  }
  const settings = resolveOptions(rules, options)
  const { store } = settings
  if (!hasBackplane || (store && isFunction(Reflect.get(store, 'subscribe')))) return settings
  const expected = 'one with `subscribe`, such as redisHistory(), as the server has a backplane'
  throw invalidValue('the `store` of `history`', expected, store)
}

function isStore(value: unknown): boolean {
  if (!isObject(value)) return false
  return ['append', 'read'].every((name) => isFunction(Reflect.get(value, name)))
}
