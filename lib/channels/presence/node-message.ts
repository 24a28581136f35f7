import { toBytes, toText } from '../../connection/message.ts'
import { AROUND_REPLY, isJsonObject, readJson } from '../protocol/json.ts'
import { parseState, type Change } from './presence-state.ts'

// The kinds of messages between nodes: a heartbeat, a change, a part of the full state, a request
// for the full state, and the notice of a node that stops.
export const HEARTBEAT = 0
export const DIFF = 1
export const STATE = 2
export const STATE_REQUEST = 3
export const GOODBYE = 4

const MAX_HEARTBEAT = 3_600_000 // milliseconds
const MAX_ID = 64 // characters

/** A message of another node. */
export interface NodeMessage {
  /** The id of the node. */
  readonly id: string
  /** Number of the changes that the node has made. */
  readonly version: number
  /** Milliseconds between the node's heartbeats. */
  readonly beat: number
  /** The index of a part of a state, and whether it is the last one. */
  readonly part: number
  readonly isLast: boolean
  /** The text after the first line: topics, or the diff in the node's message to its members. */
  readonly body: string
}

/** Encodes a message: a header about the node on the first line, and a body after it. */
export function encodeNodeMessage(header: string, body: Uint8Array | undefined): Uint8Array {
  if (!body) return toBytes(header)
  const head = toBytes(`${header}\n`)
  const message = new Uint8Array(head.length + body.length)
  message.set(head)
  message.set(body, head.length)
  return message
}

/** Parses a message. Returns undefined where it is invalid. */
export function parseNodeMessage(payload: Uint8Array): NodeMessage | undefined {
  const text = toText(payload)
  if (typeof text !== 'string') return undefined
  const end = text.includes('\n') ? text.indexOf('\n') : text.length
  const value = parseObject(text.slice(0, end))
  if (!value) return undefined
  const { id, version, beat, part = 0, last } = value
  if (typeof id !== 'string' || id.length > MAX_ID) return undefined
  if (typeof version !== 'number' || !Number.isSafeInteger(version) || version < 0) return undefined
  if (typeof beat !== 'number' || !(beat >= 1 && beat <= MAX_HEARTBEAT)) return undefined
  if (typeof part !== 'number') return undefined
  return { id, version, beat, part, isLast: last === true, body: text.slice(end + 1) }
}

/** Parses the body of a part of a state: states by topic. Returns undefined where it is invalid. */
export function parseTopics(body: string): Map<string, readonly Change[]> | undefined {
  const value = parseObject(body)
  if (!value) return undefined
  const topics = new Map<string, readonly Change[]>()
  for (const [name, state] of Object.entries(value)) {
    const changes = parseState(state)
    if (!changes) return undefined
    topics.set(name, changes)
  }
  return topics
}

/** Parses a JSON object, with the same limits as for peers. */
function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value = readJson(text, AROUND_REPLY)
    return isJsonObject(value) ? value : undefined
  } catch {
    return undefined
  }
}
