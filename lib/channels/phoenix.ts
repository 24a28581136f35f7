import { readBinary, writeBinary } from './binary.ts'
import type {
  ClientFrame,
  Frame,
  JoinFrame,
  PushFrame,
  Ref,
  Serializer,
  ServerFrame,
} from './frame.ts'
import {
  AROUND_PUSH,
  AROUND_REPLY,
  checkName,
  checkRef,
  endOfString,
  malformed,
  readJson,
  withJsonText,
  writeJson,
} from './text.ts'

/** What every frame says, as it came and before it is believed. */
interface Words {
  readonly joinRef: unknown
  readonly ref: unknown
  readonly topic: unknown
  readonly event: unknown
  readonly payload: unknown
}

/** What a frame of text will say. */
interface Saying {
  readonly joinRef: Ref
  readonly ref: Ref
  readonly topic: string
  readonly event: string
  /** JSON already. */
  readonly payload: string
}

const JOIN = 'phx_join'
const LEAVE = 'phx_leave'
const REPLY = 'phx_reply'
const ERROR = 'phx_error'
const CLOSE = 'phx_close'
const HEARTBEAT = 'heartbeat'
/** The topic of what concerns the connection as a whole. */
const SELF = 'phoenix'
const ownEvents: ReadonlySet<string> = new Set([JOIN, LEAVE, REPLY, ERROR, CLOSE])
/** What phoenix.js hands replies on by, as if they were events. */
const REPLY_EVENT = 'chan_reply_'
/** The event that tells a member who is here, */
export const PRESENCE_STATE = 'presence_state'
/** and the one that tells all who comes and goes. */
export const PRESENCE_DIFF = 'presence_diff'
const presenceEvents: ReadonlySet<unknown> = new Set([PRESENCE_STATE, PRESENCE_DIFF])
/** What each meta of a presence is known by, */
export const META_REF = 'phx_ref'
/** and, where it takes the place of another, that one. */
export const META_REF_BEFORE = 'phx_ref_prev'
const BROADCAST_HEAD = '[null,null,"'
const ALIVE = '{"status":"ok","response":{}}'
const BEARER = 'base64url.bearer.phx.'

// The first byte of a binary frame.
const PUSH_KIND = 0
const REPLY_KIND = 1
const BROADCAST_KIND = 2

/**
 * Phoenix Channels, version 2 (`vsn=2.0.0`): arrays of join_ref, ref, topic, event and payload; a
 * payload of bytes travels in a binary frame.
 *
 * A server takes names and refs of at most 255 bytes: a binary frame has no room for more.
 */
export const phoenix: Serializer = /* @__PURE__ */ dialect('2.0.0', /^2\.0\.\d+$/, {
  server: {
    decode(data) {
      return clientFrame(
        typeof data === 'string' ? arrayWords(data, AROUND_PUSH) : clientWords(data),
      )
    },
    encode(frame) {
      const bytes = bytesIn(frame)
      return bytes ? serverBytes(frame, bytes) : arrayText(serverSaying(frame))
    },
  },
  client: {
    decode(data) {
      return serverFrame(
        typeof data === 'string' ? arrayWords(data, AROUND_REPLY) : serverWords(data),
      )
    },
    encode(frame) {
      const bytes = bytesIn(frame)
      return bytes ? clientBytes(frame, bytes) : arrayText(clientSaying(frame))
    },
  },
})

/**
 * Phoenix Channels, version 1 (`vsn=1.0.0`, or none): objects of topic, event, payload and ref, and
 * no bytes. Supabase's realtime client speaks it.
 */
export const phoenixV1: Serializer = /* @__PURE__ */ dialect('1.0.0', /^1\.0\.\d+$/, {
  server: {
    decode: (data) => clientFrame(objectWords(data, AROUND_PUSH)),
    encode: (frame) => (bytesIn(frame) ? undefined : answerText(serverSaying(frame))),
  },
  client: {
    decode: (data) => serverFrame(objectWords(data, AROUND_REPLY)),
    encode: (frame) => (bytesIn(frame) ? undefined : requestText(clientSaying(frame))),
  },
})

/**
 * Tells by its head alone whether a text of version 2 is a broadcast; false also where only reading all
 * of it can tell.
 */
export function startsAsBroadcast(text: string): boolean {
  if (!text.startsWith(BROADCAST_HEAD) || !text.endsWith(']')) return false
  const topicEnd = endOfString(text, BROADCAST_HEAD.length - 1)
  const eventStart = topicEnd + 2
  if (!text.startsWith(',"', topicEnd + 1)) return false
  const eventEnd = endOfString(text, eventStart)
  if (text.charAt(eventEnd + 1) !== ',') return false
  try {
    JSON.parse(text.slice(BROADCAST_HEAD.length - 1, topicEnd + 1))
    return !ownEvents.has(JSON.parse(text.slice(eventStart, eventEnd + 1)) as string)
  } catch {
    return false
  }
}

// Pure, as the comments above tell bundlers: a page loads the version that it speaks.
function dialect(
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
    protocolsFor: (token) => ['phoenix', BEARER + base64(token)],
    replies: true,
    signs: { heartbeat: 30_000, ping: false, serverPatience: 60_000, clientPatience: false },
  }
}

// As Plug reads it: the last of several counts, and `vsn[]` is a list, which is no version.
function versionIn(query: URLSearchParams): string {
  if ([...query.keys()].some((name) => name.startsWith('vsn['))) return ''
  return query.getAll('vsn').at(-1) ?? '1.0.0'
}

// The usual alphabet, in spite of the name, as Phoenix reads it; save the slash, which may not stand
// in a subprotocol.
function base64(token: string): string {
  const bytes = Array.from(new TextEncoder().encode(token), (byte) => String.fromCharCode(byte))
  return btoa(bytes.join('')).replaceAll('=', '').replaceAll('/', '_')
}

function arrayWords(text: string, around: number): Words {
  const parts = readJson(text, around)
  if (!Array.isArray(parts) || parts.length < 5) {
    throw malformed('expected an array of join_ref, ref, topic, event and payload')
  }
  const [joinRef, ref, topic, event, payload] = parts as readonly unknown[] // not `any`
  return { joinRef, ref, topic, event, payload }
}

function objectWords(data: string | Uint8Array, around: number): Words {
  if (typeof data !== 'string') throw malformed('version 1.0.0 has no binary frames')
  const object = readJson(data, around)
  if (typeof object !== 'object' || object === null) throw malformed('expected an object')
  // JSON gave it: what it hasn't is undefined.
  const { join_ref: joinRef = null, ref, topic, event, payload } = object as Record<string, unknown>
  if (payload === undefined) throw malformed('expected a `payload`')
  return { joinRef, ref, topic, event, payload }
}

function clientWords(bytes: Uint8Array): Words {
  if (bytes[0] !== PUSH_KIND) throw malformed('unknown kind of a binary frame')
  const { names, data } = readBinary(bytes, 4)
  const [joinRef, ref, topic, event] = names
  return { joinRef, ref, topic, event, payload: data }
}

function serverWords(bytes: Uint8Array): Words {
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
  throw malformed('unknown kind of a binary frame')
}

function clientFrame(words: Words): ClientFrame {
  const { payload } = words
  const topic = checkName(words.topic, 'topic')
  const event = checkName(words.event, 'event')
  const joinRef = checkRef(words.joinRef, 'join_ref')
  const ref = checkRef(words.ref, 'ref')
  if (event === JOIN) return { kind: 'join', topic, joinRef, ref, payload }
  if (event === LEAVE) return { kind: 'leave', topic, joinRef, ref }
  if (event === HEARTBEAT && topic === SELF) return { kind: 'heartbeat', ref }
  if (ownEvents.has(event)) throw malformed(`\`${event}\` is for a server to say`)
  return { kind: 'push', topic, event, joinRef, ref, payload }
}

// A server's names are as long as it likes: whoever gets them asked for its topics.
function serverFrame(words: Words): ServerFrame {
  const { topic, event, payload } = words
  if (typeof topic !== 'string') throw malformed('expected `topic` to be a string')
  if (typeof event !== 'string') throw malformed('expected `event` to be a string')
  const joinRef = checkRef(words.joinRef, 'join_ref')
  const ref = checkRef(words.ref, 'ref')
  if (event === REPLY) return replyFrame(topic, joinRef, ref, payload)
  // In version 1 the ref alone tells which membership is meant.
  if (event === ERROR) return { kind: 'error', topic, joinRef: joinRef ?? ref, payload }
  if (event === CLOSE) return { kind: 'close', topic, joinRef: joinRef ?? ref }
  if (ownEvents.has(event)) throw malformed(`\`${event}\` is for a client to say`)
  return { kind: 'push', topic, event, joinRef, ref, payload }
}

function replyFrame(topic: string, joinRef: Ref, ref: Ref, reply: unknown): ServerFrame {
  // JSON gave it: what it hasn't is undefined.
  const { status, response = {} } = (reply ?? {}) as Record<string, unknown>
  if (typeof status !== 'string') throw malformed('expected `status` to be a string')
  if (topic === SELF && status === 'ok') return { kind: 'heartbeatReply', ref }
  return { kind: 'reply', topic, joinRef, ref, status, payload: response }
}

function bytesIn(frame: Frame): Uint8Array | undefined {
  return 'payload' in frame && frame.payload instanceof Uint8Array ? frame.payload : undefined
}

function clientSaying(frame: ClientFrame): Saying {
  const { ref } = frame
  if (frame.kind === 'heartbeat') {
    return { joinRef: null, ref, topic: SELF, event: HEARTBEAT, payload: '{}' }
  }
  const { topic, joinRef } = frame
  if (frame.kind === 'leave') return { joinRef, ref, topic, event: LEAVE, payload: '{}' }
  const event = eventOf(frame)
  const payload = writeJson(frame.payload, `the payload of \`${event}\``)
  return { joinRef, ref, topic, event, payload }
}

// An event of bytes needs both refs: in a binary frame an empty one isn't null.
function clientBytes(frame: ClientFrame, data: Uint8Array): Uint8Array | undefined {
  if (frame.kind !== 'push' && frame.kind !== 'join') return undefined
  const { topic, joinRef, ref } = frame
  if (joinRef === null || ref === null) return undefined
  return writeBinary(PUSH_KIND, [joinRef, ref, topic, eventOf(frame)], data)
}

function serverSaying(frame: ServerFrame): Saying | undefined {
  if (frame.kind === 'ping') return undefined
  if (frame.kind === 'heartbeatReply') {
    return { joinRef: null, ref: frame.ref, topic: SELF, event: REPLY, payload: ALIVE }
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
  const payload = `{"status":${quoted(frame.status)},"response":${response}}`
  return { joinRef, ref, topic, event: REPLY, payload }
}

function serverBytes(frame: ServerFrame, data: Uint8Array): Uint8Array | undefined {
  if (frame.kind === 'push') {
    const [topic, event] = [frame.topic, eventOf(frame)]
    if (frame.joinRef === null) return writeBinary(BROADCAST_KIND, [topic, event], data)
    return writeBinary(PUSH_KIND, [frame.joinRef, topic, event], data)
  }
  if (frame.kind !== 'reply' || frame.joinRef === null || frame.ref === null) return undefined
  return writeBinary(REPLY_KIND, [frame.joinRef, frame.ref, frame.topic, frame.status], data)
}

// phoenix.js looks into what a server tells, and fails at null.
function writeObject(value: unknown, what: string): string {
  const text = writeJson(value, what)
  if (text !== 'null') return text
  throw new TypeError(`expected ${what} to be an object, got null`)
}

// What an application passes on from one client to others must not end their memberships.
function eventOf(frame: JoinFrame | PushFrame): string {
  if (frame.kind === 'join') return JOIN
  const { event } = frame
  if (typeof event !== 'string') throw new TypeError('expected the name of an event')
  if (!ownEvents.has(event) && !event.startsWith(REPLY_EVENT)) return event
  throw notYours(event)
}

/**
 * Checks an event that an application sends to all members: a presence's own are for a presence.
 *
 * @throws TypeError for `presence_state` and `presence_diff`.
 */
export function checkTold(event: unknown): void {
  if (presenceEvents.has(event)) throw notYours(String(event))
}

function notYours(event: string): TypeError {
  return new TypeError(`expected an event of your own, got \`${event}\`, which is one of Phoenix's`)
}

function arrayText(saying: Saying | undefined): string | undefined {
  if (!saying) return undefined
  const { joinRef, ref, topic, event, payload } = saying
  return `[${quoted(joinRef)},${quoted(ref)},${quoted(topic)},${quoted(event)},${payload}]`
}

function answerText(saying: Saying | undefined): string | undefined {
  return saying && `{${namedWords(saying)}}`
}

// A server says in its ref whose end it tells of: it must know the join_ref.
function requestText(saying: Saying): string {
  const { joinRef } = saying
  const rest = joinRef === null ? '' : `,"join_ref":${quoted(joinRef)}`
  return `{${namedWords(saying)}${rest}}`
}

function namedWords({ topic, event, payload, ref }: Saying): string {
  return `"topic":${quoted(topic)},"event":${quoted(event)},"payload":${payload},"ref":${quoted(ref)}`
}

function quoted(text: Ref): string {
  return JSON.stringify(text)
}
