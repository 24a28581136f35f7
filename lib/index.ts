export type { RateLimit } from './allowance.ts'
export {
  memoryBackplane,
  type Backplane,
  type RefusedChannel,
  type Unsubscribe,
} from './backplane.ts'
export type { Url } from './attempt.ts'
export { WebsocketClient, type ClientEvents } from './client.ts'
export { closeReason, closeTexts, maySend, type CloseReason } from './close.ts'
export type { ConnectionEvents } from './connection-core.ts'
export { WebsocketConnection } from './connection.ts'
export type { DropReason } from './counts.ts'
export {
  CallbackError,
  ChannelError,
  ClosedError,
  ConnectError,
  FrameError,
  HistoryError,
  PeerConnectError,
  WebsocketError,
  type Closure,
  type Denial,
  type ErrorDetails,
  type Refusal,
  type RefusalReason,
  type Refused,
} from './errors.ts'
export type { AnyHttpServer } from './http.ts'
export { listen, once, type ListenOptions, type OnceOptions, type Unlisten } from './listen.ts'
export type { Data, SendData } from './message.ts'
export type { Asked } from './options/asked.ts'
export type { ClientOptions, Reconnection } from './options/client.ts'
export type { CloseOptions } from './options/close.ts'
export type { ConnectionOptions } from './options/connection.ts'
export type { AuthorizeDetails, ServerOptions, Verdict } from './options/server.ts'
export type { Compression } from './options/wire.ts'
export {
  RequestDetails,
  type BasicAuthOptions,
  type Credentials,
  type QueryNames,
  type TokenOptions,
} from './request.ts'
export type { Retry } from './retries.ts'
export { ReadonlyRoom, Room, type RoomEvents, type RoomMember } from './room.ts'
export {
  WebsocketServer,
  type Address,
  type BackplaneState,
  type ServerEvents,
  type ServerStats,
} from './server.ts'
export type { Callback, Target } from './signals.ts'
