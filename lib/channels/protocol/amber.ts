import {
  AROUND_PUSH,
  assertName,
  protocolError,
  readJson,
  withJsonText,
  writeJson,
} from './json.ts'
import type { ClientFrame, Serializer, ServerFrame } from './serializer.ts'

const PING = 'ping'

/**
 * The protocol of Amber: JSON objects with event, topic, subject and payload, and a text `ping`
 * every 30 seconds. It has no replies, errors, refs or bytes.
 */
export const amber: Serializer = {
  name: 'Amber',
  server: /* @__PURE__ */ withJsonText({ decode: decodeClientFrame, encode: encodeServerFrame }),
  client: /* @__PURE__ */ withJsonText({ decode: decodeServerFrame, encode: encodeClientFrame }),
  path: '',
  query: {},
  matches: () => true,
  protocol: undefined,
  protocolsFor: undefined,
  replies: false,
  keepaliveTimings: {
    heartbeat: false,
    pingInterval: 30_000,
    serverTimeout: false,
    clientTimeout: 100_000,
  },
}

function decodeClientFrame(data: string | Uint8Array): ClientFrame {
  const fields = parseFields(data)
  const topic = assertName(fields.topic, 'topic')
  const { event, payload = {} } = fields
  if (event === 'join') return { kind: 'join', topic, joinRef: null, ref: null, payload }
  if (event === 'leave') return { kind: 'leave', topic, joinRef: null, ref: null }
  if (event !== 'message') throw protocolError('expected `event` to be join, leave or message')
  const subject = assertName(fields.subject, 'subject')
  return { kind: 'push', topic, event: subject, joinRef: null, ref: null, payload }
}

function decodeServerFrame(data: string | Uint8Array): ServerFrame {
  if (data === PING) return { kind: 'ping' }
  const { event, topic, subject, payload = {} } = parseFields(data)
  if (event !== 'message') throw protocolError('expected `event` to be message')
  if (typeof topic !== 'string') throw protocolError('expected `topic` to be a string')
  if (typeof subject !== 'string') throw protocolError('expected `subject` to be a string')
  return { kind: 'push', topic, event: subject, joinRef: null, ref: null, payload }
}

function parseFields(data: string | Uint8Array): Readonly<Record<string, unknown>> {
  if (typeof data !== 'string') throw protocolError('Amber has no binary frames')
  const fields = readJson(data, AROUND_PUSH)
  if (typeof fields !== 'object' || fields === null) throw protocolError('expected an object')
  // `JSON.parse` returned it, so a field that it doesn't have is undefined.
  return fields as Record<string, unknown>
}

function encodeClientFrame(frame: ClientFrame): string | undefined {
  if (frame.kind === 'heartbeat') return undefined
  const topic = JSON.stringify(frame.topic)
  if (frame.kind === 'leave') return `{"event":"leave","topic":${topic}}`
  if (frame.payload instanceof Uint8Array) return undefined
  if (frame.kind === 'push') return encodeMessage(topic, frame.event, frame.payload)
  const payload = writeJson(frame.payload, `the payload of a join of ${topic}`)
  // Amber's own clients send no payload with a join, so an empty one is left out.
  const payloadField = payload === '{}' ? '' : `,"payload":${payload}`
  return `{"event":"join","topic":${topic}${payloadField}}`
}

function encodeServerFrame(frame: ServerFrame): string | undefined {
  if (frame.kind === 'ping') return PING
  if (frame.kind !== 'push' || frame.payload instanceof Uint8Array) return undefined
  return encodeMessage(JSON.stringify(frame.topic), frame.event, frame.payload)
}

function encodeMessage(topic: string, event: string, payload: unknown): string {
  const text = writeJson(payload, `the payload of \`${event}\``)
  const subject = JSON.stringify(event)
  return `{"event":"message","topic":${topic},"subject":${subject},"payload":${text}}`
}
