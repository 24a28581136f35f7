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
  Input,
  Judgement,
  Output,
  SchemaIssue,
  StandardSchema,
  StandardSchemaProps,
} from './contract.ts'
export type { Codec, Frame, Serializer } from './frame.ts'
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
