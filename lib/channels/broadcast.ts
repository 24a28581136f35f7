import { Message, type Data } from '../message.ts'
import type { PushFrame, Serializer } from './frame.ts'
import { malformed } from './text.ts'

/**
 * What goes to every member of a topic: written once in each dialect that a member speaks, and
 * framed once. To other nodes it travels in the words of the first dialect.
 */
export class Broadcast extends Message {
  readonly #frame: PushFrame
  readonly #serializer: Serializer
  #others: Map<Serializer, Message | undefined> | undefined

  constructor(serializer: Serializer, frame: PushFrame, data: Data) {
    super(data)
    this.#serializer = serializer
    this.#frame = frame
  }

  /** Is what it says. */
  get payload(): unknown {
    return this.#frame.payload
  }

  /** Is it in a dialect; undefined where that has no words for it. */
  in(serializer: Serializer): Message | undefined {
    if (serializer === this.#serializer) return this
    const others = (this.#others ??= new Map<Serializer, Message | undefined>())
    if (others.has(serializer)) return others.get(serializer)
    const message = this.#written(serializer)
    others.set(serializer, message)
    return message
  }

  /** One dialect could say it, so it isn't the caller's fault where another can't. */
  #written(serializer: Serializer): Message | undefined {
    try {
      const data = serializer.server.encode(this.#frame)
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
  return new Broadcast(serializer, frame, data)
}

/** Prepares what came from another node; throws a `FrameError` where it makes no sense. */
export function arrived(serializer: Serializer, data: Data): Broadcast {
  const frame = serializer.client.decode(data)
  if (frame.kind !== 'push' || frame.joinRef !== null) throw malformed('expected a broadcast')
  return new Broadcast(serializer, frame, data)
}
