import type { BrokerOptions } from '../options/broker.ts'
import { BrokerBackplane } from './broker.ts'
import { createRedisBroker } from './redis-broker.ts'
import type { RedisClient } from './redis-clients.ts'

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
