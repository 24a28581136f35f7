export type { Backplane, RefusedChannel, Unsubscribe } from './backplane/backplane.ts'
export type { BrokerBackplane, BrokerStats } from './backplane/broker.ts'
export type {
  CorkableStream,
  IoRedisClient,
  NodeRedisClient,
  RedisClient,
} from './backplane/redis-clients.ts'
export { redisBackplane } from './backplane/redis.ts'
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
