export { amber } from './amber.ts'
export {
  Channel,
  type ChannelEvents,
  type ChannelState,
  type Loose,
  type PushOptions,
} from './channel.ts'
export type {
  Contract,
  Failed,
  Input,
  Judgement,
  Output,
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
} from './frame.ts'
export type { ChannelServerOptions } from './options.ts'
export { phoenix, phoenixV1 } from './phoenix.ts'
export type { Message } from './received.ts'
export {
  ChannelServer,
  type ChannelServerEvents,
  type Inputs,
  type Joined,
  type Outputs,
} from './server.ts'
export { Topic, type JoinRequest, type Leave, type LeaveReason, type TopicEvents } from './topic.ts'
