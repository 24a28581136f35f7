interface PhoenixMessage {
  readonly join_ref: string | null
  readonly ref: string | null
  readonly topic: string
  readonly event: string
  readonly payload: unknown
}

/** The serializer that phoenix.js reads and writes frames with. */
interface PhoenixSerializer {
  encode(message: PhoenixMessage, callback: (data: string | ArrayBuffer) => void): void
  decode(data: string | ArrayBuffer, callback: (message: PhoenixMessage) => void): void
}

/** Receives what is answered. */
interface PhoenixPush {
  receive(status: string, callback: (response: unknown) => void): this
}

interface PhoenixChannel {
  readonly state: string
  readonly topic: string
  join(timeout?: number): PhoenixPush
  leave(timeout?: number): PhoenixPush
  push(event: string, payload: unknown, timeout?: number): PhoenixPush
  on(event: string, callback: (payload: unknown) => void): number
  onMessage: (event: string, payload: unknown) => unknown
  onClose(callback: () => void): void
  onError(callback: (reason: unknown) => void): void
}

interface PhoenixSocket {
  connect(): void
  disconnect(callback?: () => void, code?: number, reason?: string): void
  isConnected(): boolean
  channel(topic: string, params?: object | (() => object)): PhoenixChannel
  onOpen(callback: () => void): void
  onClose(callback: (event: { code: number; reason: string }) => void): void
  onError(callback: (error: unknown) => void): void
}

type PhoenixSocketMaker = new (
  url: string,
  options: {
    transport: unknown
    params?: object
    authToken?: string
    rejoinAfterMs?: ((tries: number) => number) | undefined
    reconnectAfterMs?: (tries: number) => number
    heartbeatIntervalMs?: number
    timeout?: number
    vsn?: string
    encode?: PhoenixSerializer['encode']
    decode?: PhoenixSerializer['decode']
  },
) => PhoenixSocket

type PhoenixState = Record<string, { metas: Record<string, unknown>[] }>

interface PhoenixPresence {
  onSync(callback: () => void): void
  list<Value>(by: (key: string, presence: PhoenixState[string]) => Value): Value[]
}

interface PhoenixPresenceMaker {
  new (channel: PhoenixChannel): PhoenixPresence
  syncState(state: PhoenixState, other: PhoenixState): PhoenixState
  syncDiff(state: PhoenixState, diff: { joins: PhoenixState; leaves: PhoenixState }): PhoenixState
}

declare module 'phoenix' {
  export const Presence: PhoenixPresenceMaker
  export const Socket: PhoenixSocketMaker
  export const Serializer: PhoenixSerializer
}

declare module 'phoenix-1.7' {
  export const Socket: PhoenixSocketMaker
  export const Serializer: PhoenixSerializer
}
