/**
 * A backplane over NATS.
 *
 * @module simplewebsockets/nats
 */

export type { Backplane, RefusedChannel, Unsubscribe } from './backplane/backplane.ts'
export type { BrokerBackplane, BrokerStats } from './backplane/broker-backplane.ts'
export {
  natsBackplane,
  type NatsConnection,
  type NatsMessage,
  type NatsServerInfo,
  type NatsStatus,
  type NatsSubscribeOptions,
  type NatsSubscription,
} from './backplane/nats-backplane.ts'
export type { BrokerOptions } from './options/broker.ts'
