import { Message } from '../message.ts'
import type { PushFrame, Ref, Serializer } from './frame.ts'
import { PRESENCE_STATE } from './phoenix.ts'
import { written, type Diff, type Roster } from './roster.ts'
import { JsonText, takesJsonText } from './text.ts'

/** A message that is kept, and the frame that it was written from, without the payload. */
interface Kept {
  readonly serializer: Serializer
  readonly head: unknown
  readonly message: Message | undefined
}

// One for each dialect and each join_ref. Pages that join anew all at once mostly have the same one.
const MOST_KEPT = 4

/**
 * The `presence_state` of one topic. It is written once for all members that join until the presence
 * changes, and of a change only the keys that it names are written anew.
 */
export class PresenceState {
  readonly #roster: Roster
  /** Each key with its metas, as JSON. */
  readonly #texts = new Map<string, string>()
  #payload: JsonText | undefined
  #messages: Kept[] = []

  /** Follows a roster, of which each change has to be told. */
  constructor(roster: Roster) {
    this.#roster = roster
  }

  /** Forgets what was written of the keys that have changed. */
  changed({ joins, leaves }: Diff): void {
    for (const [key] of joins) this.#texts.delete(key)
    for (const [key] of leaves) this.#texts.delete(key)
    this.#payload = undefined
    this.#messages = []
  }

  /** Returns the message for a member; undefined where its dialect has no words for it. */
  messageFor(serializer: Serializer, topic: string, joinRef: Ref): Message | undefined {
    const { server } = serializer
    const frame: PushFrame = {
      ...{ kind: 'push', topic, event: PRESENCE_STATE, joinRef, ref: null },
      payload: {},
    }
    // Where a dialect doesn't write the join_ref, all members get the same message.
    const head = server.encode(frame)
    const kept = this.#messages.find((each) => each.serializer === serializer && each.head === head)
    if (kept) return kept.message
    const payload = takesJsonText(server) ? this.#text() : written(this.#roster)
    const data = server.encode({ ...frame, payload })
    const message = data === undefined ? undefined : new Message(data)
    if (this.#messages.length === MOST_KEPT) this.#messages.shift()
    this.#messages.push({ serializer, head, message })
    return message
  }

  #text(): JsonText {
    if (this.#payload) return this.#payload
    const texts: string[] = []
    for (const key of this.#roster.keys()) {
      const text = this.#texts.get(key) ?? this.#textOf(key)
      this.#texts.set(key, text)
      texts.push(text)
    }
    this.#payload = new JsonText(`{${texts.join(',')}}`)
    return this.#payload
  }

  #textOf(key: string): string {
    return `${JSON.stringify(key)}:${JSON.stringify({ metas: this.#roster.get(key) })}`
  }
}
