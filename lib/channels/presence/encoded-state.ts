import { PreparedMessage } from '../../connection/message.ts'
import { JsonText, takesJsonText } from '../protocol/json.ts'
import { PRESENCE_STATE } from '../protocol/phoenix.ts'
import type { PushFrame, Ref, Serializer } from '../protocol/serializer.ts'
import { toWire, type Diff, type PresenceState } from './presence-state.ts'

/** A cached message, and the encoding of its frame without the payload. */
interface CachedMessage {
  readonly serializer: Serializer
  readonly head: unknown
  readonly message: PreparedMessage | undefined
}

// One for each serializer and join_ref. Pages that rejoin at the same time mostly have the same
// join_ref.
const MAX_CACHED = 4

/**
 * The encoded `presence_state` of one topic. It is encoded once for all members that join until the
 * presence changes; after a change, only the changed keys are encoded again.
 */
export class EncodedState {
  readonly #state: PresenceState
  /** The JSON of each key with its metas. */
  readonly #textByKey = new Map<string, string>()
  #payloadText: JsonText | undefined
  #messages: CachedMessage[] = []

  /** Takes the state to encode. The caller has to report each change of it with `changed`. */
  constructor(state: PresenceState) {
    this.#state = state
  }

  /** Discards the cached JSON of changed keys, and all cached messages. */
  changed({ joins, leaves }: Diff): void {
    for (const [key] of joins) this.#textByKey.delete(key)
    for (const [key] of leaves) this.#textByKey.delete(key)
    this.#payloadText = undefined
    this.#messages = []
  }

  /** Returns the message for a member; undefined where its serializer can't express it. */
  messageFor(serializer: Serializer, topic: string, joinRef: Ref): PreparedMessage | undefined {
    const { server } = serializer
    const frame: PushFrame = {
      ...{ kind: 'push', topic, event: PRESENCE_STATE, joinRef, ref: null },
      payload: {},
    }
    // Where a serializer doesn't encode the join_ref, all members get the same message.
    const head = server.encode(frame)
    const cached = this.#messages.find(
      (other) => other.serializer === serializer && other.head === head,
    )
    if (cached) return cached.message
    const payload = takesJsonText(server) ? this.#text() : toWire(this.#state)
    const data = server.encode({ ...frame, payload })
    const message = data === undefined ? undefined : new PreparedMessage(data)
    if (this.#messages.length === MAX_CACHED) this.#messages.shift()
    this.#messages.push({ serializer, head, message })
    return message
  }

  #text(): JsonText {
    if (this.#payloadText) return this.#payloadText
    const texts: string[] = []
    for (const key of this.#state.keys()) {
      const text = this.#textByKey.get(key) ?? this.#textOf(key)
      this.#textByKey.set(key, text)
      texts.push(text)
    }
    this.#payloadText = new JsonText(`{${texts.join(',')}}`)
    return this.#payloadText
  }

  #textOf(key: string): string {
    return `${JSON.stringify(key)}:${JSON.stringify({ metas: this.#state.get(key) })}`
  }
}
