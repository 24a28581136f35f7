export { ChannelError, type ChannelErrorInit } from './errors.ts'
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
export { phoenix, phoenixV1 } from './protocol/phoenix.ts'
export { Presence, type PresenceOptions } from './presence/presence.ts'
export type { PresenceEvents, PresenceJoin, PresenceLeave } from './presence/presence-emitter.ts'
export type { PushOptions } from './messages/push-options.ts'
export type { Message } from './messages/message.ts'
export type { JoinRequest } from './server/join-request.ts'
export type { Join, Leave, LeaveReason, Topic, TopicEvents } from './server/topic.ts'
