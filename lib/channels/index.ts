/**
 * Channels, presence and history: the protocols of Phoenix and Amber.
 *
 * @module simplewebsockets/channels
 */

export { ChannelError, HistoryError, type ChannelErrorInit } from './errors.ts'
export { amber } from './protocol/amber.ts'
export type { Params } from './client/endpoint-url.ts'
export type { ChannelClientOptions, Logger, RejoinOptions } from './client/options.ts'
export { Channel, type ChannelEvents, type ChannelState, type AnyEvents } from './channel.ts'
export {
  ChannelClient,
  type ChannelClientEvents,
  type JoinPayload,
} from './client/channel-client.ts'
export type { Contract, InferInputs, InferJoin, InferOutputs } from './contract/contract.ts'
export type {
  FailureResult,
  InferInput,
  InferOutput,
  PathSegment,
  SchemaIssue,
  SchemaTypes,
  StandardResult,
  StandardSchema,
  StandardSchemaProps,
  SuccessResult,
} from '../messages/standard-schema.ts'
export type {
  ClientFrame,
  CloseFrame,
  Codec,
  ErrorFrame,
  Frame,
  HeartbeatFrame,
  HeartbeatReplyFrame,
  JoinFrame,
  KeepaliveTimings,
  LeaveFrame,
  PingFrame,
  PushFrame,
  Ref,
  ReplyFrame,
  Serializer,
  ServerFrame,
  TopicFrame,
} from './protocol/serializer.ts'
export { memoryHistory, type MemoryHistoryOptions } from './history/memory-history.ts'
export type { HistoryOptions } from './history/options.ts'
export type {
  HistoryBounds,
  HistoryEntry,
  HistoryPage,
  HistoryPosition,
  HistoryStore,
  HistorySubscriber,
} from './history/store.ts'
export type { ChannelServerOptions, JoinRate } from './server/options.ts'
export { phoenix, phoenixV1 } from './protocol/phoenix.ts'
export { Presence, type PresenceOptions } from './presence/presence.ts'
export type { PresenceEvents, PresenceJoin, PresenceLeave } from './presence/presence-emitter.ts'
export type { PushOptions } from './messages/push-options.ts'
export type { Message } from './messages/message.ts'
export {
  ChannelServer,
  type ChannelServerEvents,
  type TopicOptions,
} from './server/channel-server.ts'
export type { AcceptOptions, JoinRequest } from './server/join-request.ts'
export { Topic, type Join, type Leave, type LeaveReason, type TopicEvents } from './server/topic.ts'
