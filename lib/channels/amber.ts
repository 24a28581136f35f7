import type { ClientFrame, Serializer, ServerFrame } from './frame.ts'
import { AROUND_PUSH, checkName, malformed, readJson, withJsonText, writeJson } from './text.ts'

const PING = 'ping'

/**
 * Amber's dialect: objects of event, topic, subject and payload, and a text `ping` every 30 seconds.
 * It has no answers, errors, refs or bytes.
 */
export const amber: Serializer = {
  name: 'Amber',
  server: /* @__PURE__ */ withJsonText({ decode: clientFrame, encode: serverText }),
  client: /* @__PURE__ */ withJsonText({ decode: serverFrame, encode: clientText }),
  path: '',
  query: {},
  matches: () => true,
  protocol: undefined,
  protocolsFor: undefined,
  replies: false,
  signs: { heartbeat: false, ping: 30_000, serverPatience: false, clientPatience: 100_000 },
}

function clientFrame(data: string | Uint8Array): ClientFrame {
  const words = wordsOf(data)
  const topic = checkName(words.topic, 'topic')
  const { event, payload = {} } = words
  if (event === 'join') return { kind: 'join', topic, joinRef: null, ref: null, payload }
  if (event === 'leave') return { kind: 'leave', topic, joinRef: null, ref: null }
  if (event !== 'message') throw malformed('expected `event` to be join, leave or message')
  const subject = checkName(words.subject, 'subject')
  return { kind: 'push', topic, event: subject, joinRef: null, ref: null, payload }
}

function serverFrame(data: string | Uint8Array): ServerFrame {
  if (data === PING) return { kind: 'ping' }
  const { event, topic, subject, payload = {} } = wordsOf(data)
  if (event !== 'message') throw malformed('expected `event` to be message')
  if (typeof topic !== 'string') throw malformed('expected `topic` to be a string')
  if (typeof subject !== 'string') throw malformed('expected `subject` to be a string')
  return { kind: 'push', topic, event: subject, joinRef: null, ref: null, payload }
}

function wordsOf(data: string | Uint8Array): Readonly<Record<string, unknown>> {
  if (typeof data !== 'string') throw malformed('Amber has no binary frames')
  const words = readJson(data, AROUND_PUSH)
  if (typeof words !== 'object' || words === null) throw malformed('expected an object')
  // JSON gave it: what it hasn't is undefined.
  return words as Record<string, unknown>
}

function clientText(frame: ClientFrame): string | undefined {
  if (frame.kind === 'heartbeat') return undefined
  const topic = JSON.stringify(frame.topic)
  if (frame.kind === 'leave') return `{"event":"leave","topic":${topic}}`
  if (frame.payload instanceof Uint8Array) return undefined
  if (frame.kind === 'push') return messageText(topic, frame.event, frame.payload)
  const payload = writeJson(frame.payload, `the payload of a join of ${topic}`)
  // Its own clients say nothing with a join.
  const rest = payload === '{}' ? '' : `,"payload":${payload}`
  return `{"event":"join","topic":${topic}${rest}}`
}

function serverText(frame: ServerFrame): string | undefined {
  if (frame.kind === 'ping') return PING
  if (frame.kind !== 'push' || frame.payload instanceof Uint8Array) return undefined
  return messageText(JSON.stringify(frame.topic), frame.event, frame.payload)
}

function messageText(topic: string, event: string, payload: unknown): string {
  const text = writeJson(payload, `the payload of \`${event}\``)
  const subject = JSON.stringify(event)
  return `{"event":"message","topic":${topic},"subject":${subject},"payload":${text}}`
}
