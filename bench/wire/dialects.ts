/** The protocol that a server wants to hear on top of WebSockets. */
export interface Dialect {
  readonly path: string
  /** The messages that follow the 101, in turn: what the server says, what is said. */
  readonly greetings: readonly { readonly hears?: string; readonly says?: string }[]
  /** Returns a text message as it is on the wire. */
  readonly wrap: (text: string) => string
  /** Returns a text message as it comes back. Default: the same. */
  readonly heard?: (text: string) => string
}

/** WebSockets, and nothing on top. */
export const plain: Dialect = { path: '/', greetings: [], wrap: (text) => text }

/** Version 4 of engine.io, with version 5 of socket.io's protocol in it. */
export const socketIo: Dialect = {
  path: '/socket.io/?EIO=4&transport=websocket',
  greetings: [{ hears: '0{', says: '40' }, { hears: '40{' }],
  wrap: (text) => `42${JSON.stringify(['m', text])}`,
}

/** The same, where an event is acknowledged with what it brought. */
export const socketIoAcks: Dialect = {
  ...socketIo,
  wrap: (text) => `421${JSON.stringify(['a', text])}`,
  heard: (text) => `431${JSON.stringify([text])}`,
}

/** Version 2 of Phoenix's protocol, a channel joined: what is pushed comes back in a reply. */
export const phoenixReplies: Dialect = {
  path: '/socket/websocket?vsn=2.0.0',
  greetings: [
    { says: joinOf('room:1', '1') },
    { hears: '["1","1","room:1","phx_reply",{"status":"ok"' },
  ],
  wrap: (text) => JSON.stringify(['1', '2', 'room:1', 'echo', { text }]),
  heard: (text) =>
    JSON.stringify(['1', '2', 'room:1', 'phx_reply', { status: 'ok', response: { text } }]),
}

/** The same: what is pushed goes to every member. */
export const phoenixBroadcasts: Dialect = {
  ...phoenixReplies,
  wrap: (text) => JSON.stringify(['1', '2', 'room:1', 'shout', { text }]),
  heard: broadcastOf,
}

/** WebSockets, and the bytes of a broadcast of Phoenix's. */
export const broadcastBytes: Dialect = { ...plain, wrap: broadcastOf }

/** Returns the message that asks to join a topic. */
export function joinOf(topic: string, ref: string): string {
  return JSON.stringify([ref, ref, topic, 'phx_join', {}])
}

function broadcastOf(text: string): string {
  return JSON.stringify([null, null, 'room:1', 'shout', { text }])
}
