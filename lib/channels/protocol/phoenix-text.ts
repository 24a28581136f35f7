import { endOfString } from '../../messages/nests-deeper.ts'
import { protocolError, readJson } from './json.ts'
import type { Ref } from './serializer.ts'

/** The fields of a received frame before they are checked. */
export interface RawMessage {
  readonly joinRef: unknown
  readonly ref: unknown
  readonly topic: unknown
  readonly event: unknown
  readonly payload: unknown
}

/** The fields of a text frame to be sent. */
export interface EncodedMessage {
  readonly joinRef: Ref
  readonly ref: Ref
  readonly topic: string
  readonly event: string
  /** JSON text. */
  readonly payload: string
}

const BROADCAST_HEAD = '[null,null,"'

/** Decodes a text frame of version 2: an array. */
export function decodeV2Text(text: string, outerLevels: number): RawMessage {
  const parts = readJson(text, outerLevels)
  if (!Array.isArray(parts) || parts.length < 5) {
    throw protocolError('expected an array of join_ref, ref, topic, event and payload')
  }
  const [joinRef, ref, topic, event, payload] = parts as readonly unknown[] // isArray gives any[]
  return { joinRef, ref, topic, event, payload }
}

/** Decodes a frame of version 1: an object. */
export function decodeV1Text(data: string | Uint8Array, outerLevels: number): RawMessage {
  if (typeof data !== 'string') throw protocolError('version 1.0.0 has no binary frames')
  const object = readJson(data, outerLevels)
  if (typeof object !== 'object' || object === null) throw protocolError('expected an object')
  // `JSON.parse` returned it, so a field that it doesn't have is undefined.
  const { join_ref: joinRef = null, ref, topic, event, payload } = object as Record<string, unknown>
  if (payload === undefined) throw protocolError('expected a `payload`')
  return { joinRef, ref, topic, event, payload }
}

/**
 * Returns the event of a text of version 2 that starts as a broadcast, without parsing its payload.
 * Returns undefined for any other text, and where the whole text would have to be parsed to know.
 */
export function broadcastEventOf(text: string): string | undefined {
  if (!text.startsWith(BROADCAST_HEAD) || !text.endsWith(']')) return undefined
  const topicEnd = endOfString(text, BROADCAST_HEAD.length - 1)
  const eventStart = topicEnd + 2
  if (!text.startsWith(',"', topicEnd + 1)) return undefined
  const eventEnd = endOfString(text, eventStart)
  if (text.charAt(eventEnd + 1) !== ',') return undefined
  try {
    JSON.parse(text.slice(BROADCAST_HEAD.length - 1, topicEnd + 1))
    return JSON.parse(text.slice(eventStart, eventEnd + 1)) as string
  } catch {
    return undefined
  }
}

/** Encodes a message as a text frame of version 2. */
export function encodeV2(message: EncodedMessage | undefined): string | undefined {
  if (!message) return undefined
  const { joinRef, ref, topic, event, payload } = message
  return `[${quote(joinRef)},${quote(ref)},${quote(topic)},${quote(event)},${payload}]`
}

/** Encodes a message of a server as a frame of version 1. */
export function encodeV1Server(message: EncodedMessage | undefined): string | undefined {
  return message && `{${v1Fields(message)}}`
}

/**
 * Encodes a message of a client as a frame of version 1. It has the join_ref, which a server of
 * version 1 puts into the ref of its close and error messages.
 */
export function encodeV1Client(message: EncodedMessage): string {
  const { joinRef } = message
  const joinRefField = joinRef === null ? '' : `,"join_ref":${quote(joinRef)}`
  return `{${v1Fields(message)}${joinRefField}}`
}

function v1Fields({ topic, event, payload, ref }: EncodedMessage): string {
  return `"topic":${quote(topic)},"event":${quote(event)},"payload":${payload},"ref":${quote(ref)}`
}

/** Writes a name or ref as JSON. */
export function quote(text: Ref): string {
  return JSON.stringify(text)
}
