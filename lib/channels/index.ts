export { ChannelError, HistoryError } from '../errors.ts'
export { amber } from './amber.ts'
export type { Params } from './address.ts'
export type { ChannelClientOptions, Logger, Rejoining } from './asking.ts'
export { Channel, type ChannelEvents, type ChannelState, type Loose } from './channel.ts'
export { ChannelClient, type JoinPayload } from './client.ts'
export type {
  Contract,
  Failed,
  Input,
  Inputs,
  Joined,
  Judgement,
  Output,
  Outputs,
  Passed,
  PathSegment,
  SchemaIssue,
  SchemaTypes,
  StandardSchema,
  StandardSchemaProps,
} from './contract.ts'
export type {
  ClientFrame,
  CloseFrame,
  Codec,
  ErrorFrame,
  Frame,
  HeartbeatFrame,
  HeartbeatReplyFrame,
  JoinFrame,
  LeaveFrame,
  PingFrame,
  PushFrame,
  Ref,
  ReplyFrame,
  Serializer,
  ServerFrame,
  SignsOfLife,
  TopicFrame,
} from './frame.ts'
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
export type { ChannelServerOptions, JoinRate } from './options.ts'
export { phoenix, phoenixV1 } from './phoenix.ts'
export { Presence, type PresenceOptions } from './presence.ts'
export type { PresenceEvents, PresenceJoin, PresenceLeave } from './presence-signals.ts'
export type { PushOptions } from './push.ts'
export type { Message } from './received.ts'
export { ChannelServer, type ChannelServerEvents, type TopicOptions } from './server.ts'
export {
  Topic,
  type AcceptOptions,
  type Join,
  type JoinRequest,
  type Leave,
  type LeaveReason,
  type TopicEvents,
} from './topic.ts'
export type { ChannelClientEvents } from './wire.ts'
