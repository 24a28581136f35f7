import { isJsonObject } from '../protocol/json.ts'
import type { HistoryPosition } from './store.ts'

/** The field of a join's payload with the position of the last message that the client has seen. */
export const SINCE = '$since'
/** The field of the reply to a join with the position at which the member starts. */
export const HISTORY = '$history'
/** The field of a recorded payload with the offset of the message. */
export const OFFSET = '$offset'
/** The field with the epoch, in the first recorded payload of the epoch. */
export const EPOCH = '$epoch'

const MAX_EPOCH_LENGTH = 256 // characters

/** Returns a field of a payload; undefined where the payload has no such own property. */
export function fieldOf(payload: unknown, name: string): unknown {
  return isJsonObject(payload) && Object.hasOwn(payload, name) ? payload[name] : undefined
}

/** Returns a payload without the fields of these names. */
export function withoutFields(payload: unknown, ...names: readonly string[]): unknown {
  if (!isJsonObject(payload) || !names.some((name) => Object.hasOwn(payload, name))) return payload
  return Object.fromEntries(Object.entries(payload).filter(([name]) => !names.includes(name)))
}

/** Returns the position that a peer sent; undefined where it is invalid. */
export function parsePosition(value: unknown): HistoryPosition | undefined {
  const [epoch, offset] = [fieldOf(value, 'epoch'), fieldOf(value, 'offset')]
  if (typeof epoch !== 'string' || epoch.length > MAX_EPOCH_LENGTH || !isOffset(offset)) {
    return undefined
  }
  return { epoch, offset }
}

function isOffset(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

/** The position of a client in the history of a topic; unknown until the server sent one. */
export class ClientPosition {
  #position: HistoryPosition | undefined

  /** Returns the payload of a join with the position added, where it is known. */
  addTo(payload: unknown): unknown {
    return this.#position && isJsonObject(payload)
      ? { ...payload, [SINCE]: this.#position }
      : payload
  }

  /** Reads the position from the reply to a join. Returns the reply without it. */
  begin(reply: unknown): unknown {
    this.#position = parsePosition(fieldOf(reply, HISTORY))
    return this.#position ? withoutFields(reply, HISTORY) : reply
  }

  /** Reads the position from a recorded payload. Returns the payload without it. */
  advance(payload: unknown): unknown {
    const offset = this.#position && fieldOf(payload, OFFSET)
    if (!this.#position || !isOffset(offset)) return payload
    const epoch = fieldOf(payload, EPOCH)
    this.#position = { epoch: typeof epoch === 'string' ? epoch : this.#position.epoch, offset }
    return withoutFields(payload, OFFSET, EPOCH)
  }
}
