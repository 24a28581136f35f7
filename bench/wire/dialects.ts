/** What a server wants to hear on top of WebSockets. */
export interface Dialect {
  readonly path: string
  /** What the server says after the 101, and what is answered, in turn. */
  readonly greetings: readonly { readonly hears: string; readonly says?: string }[]
  /** Is what a text message looks like on the wire. */
  readonly wrap: (text: string) => string
}

/** WebSockets, and nothing on top. */
export const plain: Dialect = { path: '/', greetings: [], wrap: (text) => text }

/** Version 4 of engine.io, with version 5 of socket.io's protocol in it. */
export const socketIo: Dialect = {
  path: '/socket.io/?EIO=4&transport=websocket',
  greetings: [{ hears: '0{', says: '40' }, { hears: '40{' }],
  wrap: (text) => `42${JSON.stringify(['m', text])}`,
}
