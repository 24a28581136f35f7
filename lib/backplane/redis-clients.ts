/** The part of a client of `redis` (node-redis) that the backplane uses. */
export interface NodeRedisClient {
  /** Whether `connect` was called on the client. */
  readonly isOpen: boolean
  /** Whether the client is connected. */
  readonly isReady: boolean
  /** Connects the client. */
  connect(): Promise<unknown>
  /** Creates another client with the same options. */
  duplicate(): NodeRedisClient
  /** Publishes a message. */
  publish(channel: string, message: Buffer): Promise<unknown>
  /** Sends a command of any kind. */
  sendCommand(command: string[]): Promise<unknown>
  /** Subscribes to channels. */
  subscribe(
    channels: string[],
    listener: (message: Buffer, channel: Buffer) => void,
    bufferMode: true,
  ): Promise<unknown>
  /** Ends subscriptions. */
  unsubscribe(
    channels: string[],
    listener: (message: Buffer, channel: Buffer) => void,
    bufferMode: true,
  ): Promise<unknown>
  /** Sends a ping. */
  ping(): Promise<unknown>
  /** Closes the connection at once. */
  destroy(): void
  /** Adds a listener. */
  on(event: string, listener: (value?: unknown) => void): unknown
  /** Removes a listener. */
  off(event: string, listener: (value?: unknown) => void): unknown
}

/** The part of a stream that the backplane uses. */
export interface CorkableStream {
  /** Buffers all writes until `uncork` is called. */
  cork(): void
  /** Sends the buffered writes at once. */
  uncork(): void
}

/** The part of a client of `ioredis` that the backplane uses. */
export interface IoRedisClient {
  /** The state of the connection: 'ready' when the client is connected. */
  readonly status: string
  /** The stream that the client writes to. */
  readonly stream?: CorkableStream | undefined
  /** Creates another client with the same options. */
  duplicate(override: object): IoRedisClient
  /** Publishes a message. */
  publish(channel: string, message: Buffer): Promise<unknown>
  /** Sends a command of any kind. */
  call(command: string, ...rest: string[]): Promise<unknown>
  /** Subscribes to channels. */
  subscribe(...channels: string[]): Promise<unknown>
  /** Ends subscriptions. */
  unsubscribe(...channels: string[]): Promise<unknown>
  /** Sends a ping. */
  ping(): Promise<unknown>
  /** Closes the connection at once. */
  disconnect(): void
  /** Adds a listener for messages. */
  on(event: 'messageBuffer', listener: (channel: Buffer, message: Buffer) => void): unknown
  /** Adds a listener. */
  on(event: string, listener: (value?: unknown) => void): unknown
  /** Removes a listener. */
  off(event: string, listener: (value?: unknown) => void): unknown
}

/** A client of the package `redis` or `ioredis`, for Redis or a server with the same protocol. */
export type RedisClient = NodeRedisClient | IoRedisClient
