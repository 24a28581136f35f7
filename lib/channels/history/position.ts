import { isJsonObject } from '../text.ts'
import type { HistoryPosition } from './store.ts'

/** The field of a join's payload that says what its client has seen, as a position. */
export const SINCE = '$since'
/** The field of the answer to a join that says at which position its member begins. */
export const HISTORY = '$history'
/** The field of a recorded payload that says its offset. */
export const OFFSET = '$offset'
/** The field of the first payload of an epoch that says the epoch. */
export const EPOCH = '$epoch'

const LONGEST_EPOCH = 256

/** Returns a field of a payload; undefined where it has none of its own. */
export function fieldOf(payload: unknown, name: string): unknown {
  return isJsonObject(payload) && Object.hasOwn(payload, name) ? payload[name] : undefined
}

/** Returns a payload without some of its fields. */
export function withoutFields(payload: unknown, ...names: readonly string[]): unknown {
  if (!isJsonObject(payload) || !names.some((name) => Object.hasOwn(payload, name))) return payload
  return Object.fromEntries(Object.entries(payload).filter(([name]) => !names.includes(name)))
}

/** Returns a position as a peer states it; undefined where it makes no sense. */
export function parsePosition(value: unknown): HistoryPosition | undefined {
  const [epoch, offset] = [fieldOf(value, 'epoch'), fieldOf(value, 'offset')]
  if (typeof epoch !== 'string' || epoch.length > LONGEST_EPOCH || !isOffset(offset)) {
    return undefined
  }
  return { epoch, offset }
}

function isOffset(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

/** The position of a client in the history of a topic, once its server has told it. */
export class ClientPosition {
  #position: HistoryPosition | undefined

  /** Returns the payload to join with: the position goes along. */
  addTo(payload: unknown): unknown {
    return this.#position && isJsonObject(payload)
      ? { ...payload, [SINCE]: this.#position }
      : payload
  }

  /** Takes the position out of the answer to a join. Returns the rest of it. */
  begin(reply: unknown): unknown {
    this.#position = parsePosition(fieldOf(reply, HISTORY))
    return this.#position ? withoutFields(reply, HISTORY) : reply
  }

  /** Takes the position out of a payload. Returns the rest of it. */
  advance(payload: unknown): unknown {
    const offset = this.#position && fieldOf(payload, OFFSET)
    if (!this.#position || !isOffset(offset)) return payload
    const epoch = fieldOf(payload, EPOCH)
    this.#position = { epoch: typeof epoch === 'string' ? epoch : this.#position.epoch, offset }
    return withoutFields(payload, OFFSET, EPOCH)
  }
}
