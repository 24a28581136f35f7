/**
 * A backplane and a history over Redis, with a client of node-redis or ioredis.
 *
 * @module simplewebsockets/redis
 */

export type { Backplane, RefusedChannel, Unsubscribe } from './backplane/backplane.ts'
export type { BrokerBackplane, BrokerStats } from './backplane/broker-backplane.ts'
export type { CorkableStream, IoRedisClient } from './backplane/ioredis-broker.ts'
export type { NodeRedisClient } from './backplane/node-redis-broker.ts'
export { redisBackplane, type RedisClient } from './backplane/redis-backplane.ts'
export { redisHistory, type RedisHistoryOptions } from './channels/history/redis-history.ts'
export type {
  HistoryBounds,
  HistoryEntry,
  HistoryPage,
  HistoryPosition,
  HistoryStore,
  HistorySubscriber,
} from './channels/history/store.ts'
export type { BrokerOptions } from './options/broker.ts'
