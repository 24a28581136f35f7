import type { BrokerOptions } from '../options/broker.ts'
import { isObject, invalidValue } from '../validation.ts'
import { BrokerBackplane } from './broker-backplane.ts'
import { IoRedisBroker, type IoRedisClient } from './ioredis-broker.ts'
import { NodeRedisBroker, type NodeRedisClient } from './node-redis-broker.ts'
import type { RedisBroker } from './redis-broker.ts'

/** A client of the package `redis` or `ioredis`, for Redis or a server with the same protocol. */
export type RedisClient = NodeRedisClient | IoRedisClient

const NO_CLUSTER =
  'one of a single node, as every node of a cluster carries what any of them publishes: pass `new Redis({ host, port })` or `createClient({ url })`'

/**
 * Creates a backplane over Redis. It uses one Redis channel for each topic, and subscribes to it
 * while this node has a member of the topic.
 *
 * The backplane publishes through the given client, and subscribes through a second one that it
 * creates with `duplicate()`. It connects a client of `redis` on which `connect` was not called
 * yet, and closes that client when the backplane is closed. The caller closes any other client.
 *
 * @throws TypeError for an invalid client, for a cluster, for an unknown option, and for an invalid
 * value.
 */
export function redisBackplane(client: RedisClient, options?: BrokerOptions): BrokerBackplane {
  return new BrokerBackplane(createRedisBroker(client), options)
}

/**
 * Wraps a Redis client for a backplane or a history. With `sendsOnce` no command is ever sent
 * twice. For ioredis this needs one more connection, because its clients repeat the pending
 * commands after a reconnection.
 *
 * @throws TypeError for an invalid client, and for a cluster.
 */
export function createRedisBroker(
  client: RedisClient,
  { sendsOnce = false } = {},
): RedisBroker<RedisClient> {
  if (isObject(client) && typeof Reflect.get(client, 'duplicate') === 'function') {
    const isCluster = 'masters' in client || 'nodes' in client // of `redis`, of `ioredis`
    if (isCluster) throw invalidValue('the client', NO_CLUSTER, client)
    if ('isReady' in client) return new NodeRedisBroker(client)
    if ('status' in client) return new IoRedisBroker(client, sendsOnce)
  }
  throw invalidValue('the client', 'one of `redis` or of `ioredis`', client)
}
