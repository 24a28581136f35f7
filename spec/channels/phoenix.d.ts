interface PhoenixMessage {
  readonly join_ref: string | null
  readonly ref: string | null
  readonly topic: string
  readonly event: string
  readonly payload: unknown
}

/** What phoenix.js reads and writes frames with. */
interface PhoenixSerializer {
  encode(message: PhoenixMessage, callback: (data: string | ArrayBuffer) => void): void
  decode(data: string | ArrayBuffer, callback: (message: PhoenixMessage) => void): void
}

declare module 'phoenix' {
  export const Serializer: PhoenixSerializer
}

declare module 'phoenix-1.7' {
  export const Serializer: PhoenixSerializer
}
