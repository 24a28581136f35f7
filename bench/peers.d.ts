// The part of its peers that the bench uses: they are installed apart, and types hold without them.

declare module '@socket.io/redis-adapter' {
  import type { Server } from 'socket.io'

  export function createAdapter(
    publisher: unknown,
    subscriber: unknown,
  ): Parameters<Server['adapter']>[0]
}

declare module 'websocket' {
  import type { Server as HttpServer } from 'node:http'

  interface Connection {
    on(event: 'message', callback: (message: { utf8Data?: string }) => void): this
    sendUTF(text: string): void
  }
  interface Server {
    on(event: 'connect', callback: (connection: Connection) => void): this
    broadcastUTF(text: string): void
  }
  interface Options {
    httpServer: HttpServer
    autoAcceptConnections: boolean
  }
  const websocket: { server: new (options: Options) => Server }
  export default websocket
}

declare module '@trufflesuite/uws-js-unofficial' {
  interface Socket {
    subscribe(topic: string): boolean
    send(text: string, isBinary: boolean, compress: boolean): number
  }
  interface Behavior {
    idleTimeout: number
    compression: number
    open: (socket: Socket) => void
    message: (socket: Socket, data: ArrayBuffer, isBinary: boolean) => void
  }
  interface App {
    ws(pattern: string, behavior: Behavior): App
    publish(topic: string, text: string, isBinary: boolean, compress: boolean): boolean
    listen(host: string, port: number, callback: (socket: object | false) => void): App
  }
  const uws: {
    App(): App
    us_socket_local_port(socket: object | false): number
    readonly SHARED_COMPRESSOR: number
    readonly DISABLED: number
  }
  export default uws
}

interface BunSocket {
  subscribe(topic: string): void
  send(data: string | Uint8Array, compress?: boolean): number
}

interface BunServer {
  readonly port: number
  upgrade(request: Request): boolean
  publish(topic: string, data: string | Uint8Array, compress: boolean): number
}

/** The global object of Bun: there is none in Node. */
declare const Bun: {
  gc(force: boolean): void
  serve(options: {
    port: number
    hostname: string
    fetch: (request: Request, server: BunServer) => Response | undefined
    websocket: {
      idleTimeout: number
      sendPings: boolean
      perMessageDeflate: false | { compress: 'shared'; decompress: 'shared' }
      open: (socket: BunSocket) => void
      message: (socket: BunSocket, data: string | Uint8Array) => void
    }
  }): BunServer
}
