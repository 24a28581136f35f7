import { BrokerBackplane } from './engine.ts'
import type { BrokerOptions } from './options/broker.ts'
import { brokerOf, type RedisClient } from './redis-broker.ts'

export type { Backplane, RefusedChannel, Unsubscribe } from './backplane.ts'
export { redisHistory, type RedisHistoryOptions } from './channels/history/redis-history.ts'
export type {
  HistoryBounds,
  HistoryEntry,
  HistoryPage,
  HistoryPosition,
  HistoryStore,
  HistorySubscriber,
} from './channels/history/store.ts'
export type { BrokerBackplane, BrokerStats } from './engine.ts'
export type { BrokerOptions } from './options/broker.ts'
export type { CorkableStream, IoRedisClient, NodeRedisClient, RedisClient } from './redis-broker.ts'

/**
 * Makes a backplane over Redis: a channel of Redis for each topic, subscribed to while this node has a
 * member there.
 *
 * It publishes through your client, and subscribes through a second one, made with `duplicate()`. A
 * client of `redis` that was not told to connect yet is told so, and is closed with the backplane; any
 * other stays yours to close.
 *
 * @throws TypeError for what is no client, for a cluster, and for an option that is unknown or can't be.
 */
export function redisBackplane(client: RedisClient, options?: BrokerOptions): BrokerBackplane {
  return new BrokerBackplane(brokerOf(client), options)
}
