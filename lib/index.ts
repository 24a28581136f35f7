export { memoryBackplane, type Backplane, type Unsubscribe } from './backplane.ts'
export { WebsocketClient, type ClientEvents, type Url } from './client.ts'
export { closeReason, closeTexts, maySend, type CloseReason } from './close.ts'
export { WebsocketConnection, type ConnectionEvents } from './connection.ts'
export {
  CallbackError,
  ChannelError,
  ClosedError,
  ConnectError,
  FrameError,
  PeerConnectError,
  WebsocketError,
  type Closure,
  type Denial,
  type ErrorDetails,
  type Refusal,
  type Refused,
} from './errors.ts'
export type { AnyHttpServer } from './http.ts'
export { listen, once, type ListenOptions, type Unlisten } from './listen.ts'
export type { Data } from './message.ts'
export type {
  Asked,
  ClientOptions,
  Compression,
  ConnectionOptions,
  ServerOptions,
  Verdict,
} from './options.ts'
export { RequestDetails, type Credentials } from './request.ts'
export { Room, type RoomEvents, type RoomMember } from './room.ts'
export {
  WebsocketServer,
  type Address,
  type BackplaneState,
  type CloseOptions,
  type ServerEvents,
  type ServerStats,
} from './server.ts'
export type { Callback, Target } from './signals.ts'
