/**
 * WebSocket clients and connections for pages, on the page's own `WebSocket`: what bundlers take for
 * `simplewebsockets`.
 *
 * @module simplewebsockets/browser
 */

export type { Listenable } from './events/listenable.ts'
export type { UrlSource } from './client/connect.ts'
export { WebsocketClient, type ClientEvents } from './client/client.ts'
export {
  closeReason,
  closeCodeTexts,
  isSendableCloseCode,
  type CloseReason,
} from './connection/close-codes.ts'
export {
  WebsocketConnection,
  type AnyConnection,
  type ConnectionEvents,
  type ConnectionOf,
} from './connection/connection.ts'
export {
  CallbackError,
  ClosedError,
  ConnectError,
  FrameError,
  WebsocketError,
  type ClosedErrorInit,
  type FrameErrorInit,
  type ErrorCode,
  type ErrorCodes,
  type ErrorDetails,
  type ConnectErrorInit,
} from './errors.ts'
export { listen, type Callback, type ListenOptions, type Unlisten } from './events/listen.ts'
export { once, type OnceOptions } from './events/once.ts'
export type { Data, SendData } from './connection/message.ts'
export { codec, type CodecOptions } from './messages/codec.ts'
export { json, type JsonOptions } from './messages/json.ts'
export type { Messages } from './messages/messages.ts'
export type {
  FailureResult,
  PathSegment,
  SchemaIssue,
  SchemaTypes,
  StandardResult,
  StandardSchema,
  StandardSchemaProps,
  SuccessResult,
} from './messages/standard-schema.ts'
export type { ValueOrProvider } from './options/value-or-provider.ts'
export type { ClientOptions, ReconnectOptions } from './options/client.ts'
export type { ConnectionOptions } from './options/connection.ts'
export type { Compression } from './options/node-only.ts'
export {
  RequestDetails,
  type BasicAuthOptions,
  type Credentials,
  type QueryNames,
  type TokenOptions,
} from './server/handshake/request.ts'
export type { Retry } from './client/reconnect.ts'
