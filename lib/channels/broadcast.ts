import { Message, type Data } from '../message.ts'
import type { PushFrame, Serializer } from './frame.ts'
import { phoenix, startsAsBroadcast } from './phoenix.ts'
import { malformed } from './text.ts'

/**
 * What goes to every member of a topic: encoded once, and framed once. To other nodes it travels in the
 * first dialect. For members who speak another one it is read from that again, here as on the other
 * nodes: so they get the same payload everywhere.
 */
export class Broadcast extends Message {
  readonly #serializer: Serializer
  #frame: PushFrame | 'unreadable' | undefined
  #others: Map<Serializer, Message | undefined> | undefined

  constructor(serializer: Serializer, data: Data) {
    super(data)
    this.#serializer = serializer
  }

  /** Reads all of it, once; undefined where that can't be. */
  read(): PushFrame | undefined {
    this.#frame ??= this.#decoded() ?? 'unreadable'
    return this.#frame === 'unreadable' ? undefined : this.#frame
  }

  /** Returns it in a dialect; undefined where that has no words for it. */
  in(serializer: Serializer): Message | undefined {
    if (serializer === this.#serializer) return this
    const others = (this.#others ??= new Map<Serializer, Message | undefined>())
    if (others.has(serializer)) return others.get(serializer)
    const message = this.#encoded(serializer)
    others.set(serializer, message)
    return message
  }

  #decoded(): PushFrame | undefined {
    try {
      return decode(this.#serializer, this.data)
    } catch {
      return undefined
    }
  }

  /** One dialect could say it, so it isn't the caller's fault where another can't. */
  #encoded(serializer: Serializer): Message | undefined {
    const frame = this.read()
    if (!frame) return undefined
    try {
      const data = serializer.server.encode(frame)
      return data === undefined ? undefined : new Message(data)
    } catch {
      return undefined
    }
  }
}

/**
 * Prepares an event for every member of a topic.
 *
 * @throws TypeError for what the application may not say, RangeError for names too long for bytes.
 */
export function broadcastOf(
  serializer: Serializer,
  { topic, event, payload }: Pick<PushFrame, 'topic' | 'event' | 'payload'>,
): Broadcast {
  const frame: PushFrame = { kind: 'push', topic, event, joinRef: null, ref: null, payload }
  const data = serializer.server.encode(frame)
  if (data === undefined) throw new TypeError(`${serializer.name} has no words for \`${event}\``)
  return new Broadcast(serializer, data)
}

/**
 * Prepares what came from another node. Looks only at its head where it can: members who speak its
 * dialect are sent the rest as it came.
 *
 * @throws FrameError where it makes no sense.
 */
export function arrived(serializer: Serializer, data: Data): Broadcast {
  const isKnown = serializer === phoenix && typeof data === 'string' && startsAsBroadcast(data)
  if (!isKnown) decode(serializer, data)
  return new Broadcast(serializer, data)
}

function decode(serializer: Serializer, data: Data): PushFrame {
  const frame = serializer.client.decode(data)
  if (frame.kind !== 'push' || frame.joinRef !== null) throw malformed('expected a broadcast')
  return frame
}
