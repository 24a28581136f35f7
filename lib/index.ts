export { WebsocketConnection, type ConnectionEvents } from './connection.ts'
export { listen, once, type ListenOptions, type Unlisten } from './listen.ts'
