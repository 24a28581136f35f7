export type { Url } from './attempt.ts'
export { WebsocketClient, type ClientEvents } from './client.ts'
export { closeReason, closeTexts, maySend, type CloseReason } from './close.ts'
export type { ConnectionEvents } from './connection-core.ts'
export { WebsocketConnection } from './connection.ts'
export {
  CallbackError,
  ClosedError,
  ConnectError,
  FrameError,
  WebsocketError,
  type Closure,
  type ErrorDetails,
  type Refusal,
} from './errors.ts'
export { listen, once, type ListenOptions, type OnceOptions, type Unlisten } from './listen.ts'
export type { Data, SendData } from './message.ts'
export type { Asked } from './options/asked.ts'
export type { ClientOptions, Reconnection } from './options/client.ts'
export type { ConnectionOptions } from './options/connection.ts'
export type { Compression } from './options/wire.ts'
export {
  RequestDetails,
  type BasicAuthOptions,
  type Credentials,
  type QueryNames,
  type TokenOptions,
} from './request.ts'
export type { Retry } from './retries.ts'
export type { Callback, Target } from './signals.ts'
