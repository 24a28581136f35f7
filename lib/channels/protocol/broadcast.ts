import { PreparedMessage, type Data } from '../../connection/message.ts'
import { invalidArgument } from '../../validation.ts'
import { protocolError } from './json.ts'
import { phoenix, startsAsBroadcast } from './phoenix.ts'
import type { PushFrame, Serializer } from './serializer.ts'

/**
 * A message for every member of a topic, encoded once and framed once. Other nodes receive it in
 * the encoding of the server's first serializer. For members with another serializer, it is decoded
 * from that encoding and encoded again, on this node as on the others: so they get the same payload
 * everywhere.
 */
export class Broadcast extends PreparedMessage {
  readonly #serializer: Serializer
  #frame: PushFrame | 'unreadable' | undefined
  #encodings: Map<Serializer, PreparedMessage | undefined> | undefined

  constructor(serializer: Serializer, data: Data) {
    super(data)
    this.#serializer = serializer
  }

  /** Decodes the whole message, once. Returns undefined where it can't be decoded. */
  read(): PushFrame | undefined {
    this.#frame ??= this.#decode() ?? 'unreadable'
    return this.#frame === 'unreadable' ? undefined : this.#frame
  }

  /** Returns the message for a serializer; undefined where that one can't express it. */
  encodedFor(serializer: Serializer): PreparedMessage | undefined {
    if (serializer === this.#serializer) return this
    const encodings = (this.#encodings ??= new Map<Serializer, PreparedMessage | undefined>())
    if (encodings.has(serializer)) return encodings.get(serializer)
    const message = this.#encode(serializer)
    encodings.set(serializer, message)
    return message
  }

  #decode(): PushFrame | undefined {
    try {
      return decode(this.#serializer, this.data)
    } catch {
      return undefined
    }
  }

  /**
   * Encodes the message for another serializer. Returns undefined where that fails: the first
   * serializer could encode it, so the caller made no mistake.
   */
  #encode(serializer: Serializer): PreparedMessage | undefined {
    const frame = this.read()
    if (!frame) return undefined
    try {
      const data = serializer.server.encode(frame)
      return data === undefined ? undefined : new PreparedMessage(data)
    } catch {
      return undefined
    }
  }
}

/**
 * Creates the message of an event for every member of a topic.
 *
 * @throws TypeError for what the application may not send, RangeError for a name that is too long
 * for a binary frame.
 */
export function createBroadcast(
  serializer: Serializer,
  { topic, event, payload }: Pick<PushFrame, 'topic' | 'event' | 'payload'>,
): Broadcast {
  const frame: PushFrame = { kind: 'push', topic, event, joinRef: null, ref: null, payload }
  const data = serializer.server.encode(frame)
  if (data === undefined) throw invalidArgument(`${serializer.name} has no words for \`${event}\``)
  return new Broadcast(serializer, data)
}

/**
 * Creates the message of a broadcast that another node sent. Checks only its head where that is
 * possible: members with the same serializer are sent the rest unchanged.
 *
 * @throws FrameError for what is no broadcast.
 */
export function decodeBroadcast(serializer: Serializer, data: Data): Broadcast {
  const isBroadcast = serializer === phoenix && typeof data === 'string' && startsAsBroadcast(data)
  if (!isBroadcast) decode(serializer, data)
  return new Broadcast(serializer, data)
}

function decode(serializer: Serializer, data: Data): PushFrame {
  const frame = serializer.client.decode(data)
  if (frame.kind !== 'push' || frame.joinRef !== null) throw protocolError('expected a broadcast')
  return frame
}
