import { encodeTokenSubprotocol } from '../../server/handshake/token-subprotocol.ts'
import { invalidArgument } from '../../validation.ts'
import {
  AROUND_PUSH,
  AROUND_REPLY,
  assertName,
  assertRef,
  protocolError,
  withJsonText,
  writeJson,
} from './json.ts'
import { BROADCAST_KIND, PUSH_KIND, REPLY_KIND, readBinary, writeBinary } from './phoenix-binary.ts'
import {
  broadcastEventOf,
  decodeV1Text,
  decodeV2Text,
  encodeV1Client,
  encodeV1Server,
  encodeV2,
  quote,
  type EncodedMessage,
  type RawMessage,
} from './phoenix-text.ts'
import type {
  ClientFrame,
  Frame,
  JoinFrame,
  PushFrame,
  Ref,
  Serializer,
  ServerFrame,
} from './serializer.ts'

const JOIN = 'phx_join'
const LEAVE = 'phx_leave'
const REPLY = 'phx_reply'
const ERROR = 'phx_error'
const CLOSE = 'phx_close'
const HEARTBEAT = 'heartbeat'
/** The topic of frames that concern the connection as a whole. */
const PHOENIX_TOPIC = 'phoenix'
const protocolEvents: ReadonlySet<string> = new Set([JOIN, LEAVE, REPLY, ERROR, CLOSE])
/** The prefix of the events by which phoenix.js dispatches replies. */
const REPLY_EVENT = 'chan_reply_'
/** The event with the whole presence of a topic, sent to a new member. */
export const PRESENCE_STATE = 'presence_state'
/** The event with the changes of a topic's presence, sent to all members. */
export const PRESENCE_DIFF = 'presence_diff'
const presenceEvents: ReadonlySet<unknown> = new Set([PRESENCE_STATE, PRESENCE_DIFF])
/** The field of a presence meta that identifies it. */
export const META_REF = 'phx_ref'
/** The field of a presence meta with the ref of the meta that it replaces. */
export const META_REF_BEFORE = 'phx_ref_prev'
const HEARTBEAT_OK = '{"status":"ok","response":{}}'

/**
 * The serializer of Phoenix Channels, version 2 (`vsn=2.0.0`): JSON arrays of join_ref, ref, topic,
 * event and payload; a payload of bytes is sent in a binary frame.
 *
 * A server accepts names and refs of at most 255 bytes: a binary frame has no room for more.
 */
export const phoenix: Serializer = /* @__PURE__ */ createSerializer('2.0.0', /^2\.0\.\d+$/, {
  server: {
    decode(data) {
      return toClientFrame(
        typeof data === 'string' ? decodeV2Text(data, AROUND_PUSH) : decodeClientBinary(data),
      )
    },
    encode(frame) {
      const bytes = bytesOf(frame)
      return bytes ? encodeServerBytes(frame, bytes) : encodeV2(toServerMessage(frame))
    },
  },
  client: {
    decode(data) {
      return toServerFrame(
        typeof data === 'string' ? decodeV2Text(data, AROUND_REPLY) : decodeServerBinary(data),
      )
    },
    encode(frame) {
      const bytes = bytesOf(frame)
      return bytes ? encodeClientBytes(frame, bytes) : encodeV2(toClientMessage(frame))
    },
  },
})

/**
 * The serializer of Phoenix Channels, version 1 (`vsn=1.0.0`, or no `vsn`): JSON objects of topic,
 * event, payload and ref, and no bytes. Supabase's realtime client uses it.
 */
export const phoenixV1: Serializer = /* @__PURE__ */ createSerializer('1.0.0', /^1\.0\.\d+$/, {
  server: {
    decode: (data) => toClientFrame(decodeV1Text(data, AROUND_PUSH)),
    encode: (frame) => (bytesOf(frame) ? undefined : encodeV1Server(toServerMessage(frame))),
  },
  client: {
    decode: (data) => toServerFrame(decodeV1Text(data, AROUND_REPLY)),
    encode: (frame) => (bytesOf(frame) ? undefined : encodeV1Client(toClientMessage(frame))),
  },
})

/**
 * Returns whether a text of version 2 is a broadcast, by its head alone. Returns false also where
 * the whole text would have to be parsed to know.
 */
export function startsAsBroadcast(text: string): boolean {
  const event = broadcastEventOf(text)
  return event !== undefined && !protocolEvents.has(event)
}

// Has no side effects, as the `PURE` comments above tell bundlers: a page loads only the version
// that it uses.
function createSerializer(
  version: string,
  versions: RegExp,
  codecs: Pick<Serializer, 'server' | 'client'>,
): Serializer {
  withJsonText(codecs.client)
  withJsonText(codecs.server)
  return {
    name: `Phoenix ${version}`,
    ...codecs,
    path: '/websocket',
    query: { vsn: version },
    matches: (query) => versions.test(versionIn(query)),
    protocol: 'phoenix',
    protocolsFor: (token) => ['phoenix', encodeTokenSubprotocol(token)],
    replies: true,
    keepaliveTimings: {
      heartbeat: 30_000,
      pingInterval: false,
      serverTimeout: 60_000,
      clientTimeout: false,
    },
  }
}

// Reads `vsn` as Plug does: the last of several counts, and `vsn[]` is a list, which is no version.
function versionIn(query: URLSearchParams): string {
  if ([...query.keys()].some((name) => name.startsWith('vsn['))) return ''
  return query.getAll('vsn').at(-1) ?? '1.0.0'
}

function decodeClientBinary(bytes: Uint8Array): RawMessage {
  if (bytes[0] !== PUSH_KIND) throw protocolError('unknown kind of a binary frame')
  const { names, data } = readBinary(bytes, 4)
  const [joinRef, ref, topic, event] = names
  return { joinRef, ref, topic, event, payload: data }
}

function decodeServerBinary(bytes: Uint8Array): RawMessage {
  if (bytes[0] === PUSH_KIND) {
    const { names, data } = readBinary(bytes, 3)
    const [joinRef, topic, event] = names
    return { joinRef, ref: null, topic, event, payload: data }
  }
  if (bytes[0] === REPLY_KIND) {
    const { names, data } = readBinary(bytes, 4)
    const [joinRef, ref, topic, status] = names
    return { joinRef, ref, topic, event: REPLY, payload: { status, response: data } }
  }
  if (bytes[0] === BROADCAST_KIND) {
    const { names, data } = readBinary(bytes, 2)
    const [topic, event] = names
    return { joinRef: null, ref: null, topic, event, payload: data }
  }
  throw protocolError('unknown kind of a binary frame')
}

function toClientFrame(message: RawMessage): ClientFrame {
  const { payload } = message
  const topic = assertName(message.topic, 'topic')
  const event = assertName(message.event, 'event')
  const joinRef = assertRef(message.joinRef, 'join_ref')
  const ref = assertRef(message.ref, 'ref')
  if (event === JOIN) return { kind: 'join', topic, joinRef, ref, payload }
  if (event === LEAVE) return { kind: 'leave', topic, joinRef, ref }
  if (event === HEARTBEAT && topic === PHOENIX_TOPIC) return { kind: 'heartbeat', ref }
  if (protocolEvents.has(event)) throw protocolError(`\`${event}\` is for a server to say`)
  return { kind: 'push', topic, event, joinRef, ref, payload }
}

// A server's names may have any length: the client chose to join its topics.
function toServerFrame(message: RawMessage): ServerFrame {
  const { topic, event, payload } = message
  if (typeof topic !== 'string') throw protocolError('expected `topic` to be a string')
  if (typeof event !== 'string') throw protocolError('expected `event` to be a string')
  const joinRef = assertRef(message.joinRef, 'join_ref')
  const ref = assertRef(message.ref, 'ref')
  if (event === REPLY) return toReplyFrame(topic, joinRef, ref, payload)
  // In version 1 only the ref identifies the membership.
  if (event === ERROR) return { kind: 'error', topic, joinRef: joinRef ?? ref, payload }
  if (event === CLOSE) return { kind: 'close', topic, joinRef: joinRef ?? ref }
  if (protocolEvents.has(event)) throw protocolError(`\`${event}\` is for a client to say`)
  return { kind: 'push', topic, event, joinRef, ref, payload }
}

function toReplyFrame(topic: string, joinRef: Ref, ref: Ref, reply: unknown): ServerFrame {
  // `JSON.parse` returned it, so a field that it doesn't have is undefined.
  const { status, response = {} } = (reply ?? {}) as Record<string, unknown>
  if (typeof status !== 'string') throw protocolError('expected `status` to be a string')
  if (topic === PHOENIX_TOPIC && status === 'ok') return { kind: 'heartbeatReply', ref }
  return { kind: 'reply', topic, joinRef, ref, status, payload: response }
}

function bytesOf(frame: Frame): Uint8Array | undefined {
  return 'payload' in frame && frame.payload instanceof Uint8Array ? frame.payload : undefined
}

function toClientMessage(frame: ClientFrame): EncodedMessage {
  const { ref } = frame
  if (frame.kind === 'heartbeat') {
    return { joinRef: null, ref, topic: PHOENIX_TOPIC, event: HEARTBEAT, payload: '{}' }
  }
  const { topic, joinRef } = frame
  if (frame.kind === 'leave') return { joinRef, ref, topic, event: LEAVE, payload: '{}' }
  const event = eventOf(frame)
  const payload = writeJson(frame.payload, `the payload of \`${event}\``)
  return { joinRef, ref, topic, event, payload }
}

// A binary push needs both refs: an empty ref in a binary frame isn't null.
function encodeClientBytes(frame: ClientFrame, data: Uint8Array): Uint8Array | undefined {
  if (frame.kind !== 'push' && frame.kind !== 'join') return undefined
  const { topic, joinRef, ref } = frame
  if (joinRef === null || ref === null) return undefined
  return writeBinary(PUSH_KIND, [joinRef, ref, topic, eventOf(frame)], data)
}

function toServerMessage(frame: ServerFrame): EncodedMessage | undefined {
  if (frame.kind === 'ping') return undefined
  if (frame.kind === 'heartbeatReply') {
    const { ref } = frame
    return { joinRef: null, ref, topic: PHOENIX_TOPIC, event: REPLY, payload: HEARTBEAT_OK }
  }
  const { topic, joinRef } = frame
  if (frame.kind === 'close') return { joinRef, ref: joinRef, topic, event: CLOSE, payload: '{}' }
  if (frame.kind === 'error') {
    const payload = writeObject(frame.payload, `the error on \`${topic}\``)
    return { joinRef, ref: joinRef, topic, event: ERROR, payload }
  }
  const { ref } = frame
  if (frame.kind === 'push') {
    const event = eventOf(frame)
    const payload = writeObject(frame.payload, `the payload of \`${event}\``)
    return { joinRef, ref, topic, event, payload }
  }
  const response = writeJson(frame.payload, `the reply on \`${topic}\``)
  const payload = `{"status":${quote(frame.status)},"response":${response}}`
  return { joinRef, ref, topic, event: REPLY, payload }
}

function encodeServerBytes(frame: ServerFrame, data: Uint8Array): Uint8Array | undefined {
  if (frame.kind === 'push') {
    const [topic, event] = [frame.topic, eventOf(frame)]
    if (frame.joinRef === null) return writeBinary(BROADCAST_KIND, [topic, event], data)
    return writeBinary(PUSH_KIND, [frame.joinRef, topic, event], data)
  }
  if (frame.kind !== 'reply' || frame.joinRef === null || frame.ref === null) return undefined
  return writeBinary(REPLY_KIND, [frame.joinRef, frame.ref, frame.topic, frame.status], data)
}

// phoenix.js reads fields of the payloads of a server, and fails at null.
function writeObject(value: unknown, label: string): string {
  const text = writeJson(value, label)
  if (text !== 'null') return text
  throw invalidArgument(`expected ${label} to be an object, got null`)
}

// An event that an application passes on from one client to others must not end their memberships.
function eventOf(frame: JoinFrame | PushFrame): string {
  if (frame.kind === 'join') return JOIN
  const { event } = frame
  if (typeof event !== 'string') throw invalidArgument('expected the name of an event')
  if (!protocolEvents.has(event) && !event.startsWith(REPLY_EVENT)) return event
  throw reservedEventError(event)
}

/**
 * Checks an event that an application sends to all members: the events of a presence are reserved.
 *
 * @throws TypeError for `presence_state` and `presence_diff`.
 */
export function assertBroadcastEvent(event: unknown): void {
  if (presenceEvents.has(event)) throw reservedEventError(String(event))
}

function reservedEventError(event: string): TypeError {
  return invalidArgument(
    `expected an event of your own, got \`${event}\`, which is one of Phoenix's`,
  )
}
