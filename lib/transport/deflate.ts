import { constants, deflateRawSync } from 'node:zlib'
import type { ConnectionSettings } from '../options/connection.ts'
import type { Compression } from '../options/wire.ts'
import type { Parameters } from './parts.ts'

/** What the extension is called. */
export const EXTENSION = 'permessage-deflate'

/** What both ends agreed on for what a server sends, RFC 7692 §7.1. */
export interface Agreement {
  /** How far back the peer can look, as a power of two. */
  readonly windowBits: number
}

/** Bytes; a longer message is left to `ws`, which compresses it beside the event loop. */
export const MOST_DEFLATED = 64 * 1024

const SMALLEST_WINDOW = 9 // zlib can't do with less
const TAIL = 4 // the bytes that a flush ends with, which are left out: RFC 7692 §7.2.1

const WINDOW = /^(?:[89]|1[0-5])$/

/** Whether an offer of a client, or the answer of a server, makes sense: RFC 7692 §7.1. */
export function makesSense(parameters: Parameters, from: 'client' | 'server'): boolean {
  return Object.entries(parameters).every(([name, [value = '', ...others]]) => {
    if (others.length > 0) return false
    switch (name) {
      case 'server_no_context_takeover':
      case 'client_no_context_takeover':
        return value === true
      case 'server_max_window_bits':
        return value !== true && WINDOW.test(value)
      case 'client_max_window_bits':
        return value === true ? from === 'client' : WINDOW.test(value)
      default:
        return false
    }
  })
}

/**
 * Reads what was agreed on from the headers of a server's answer; undefined where messages may not
 * be compressed each for itself, for many peers at once.
 */
export function agreement(headers: readonly string[]): Agreement | undefined {
  const line = headers.find((header) => /^sec-websocket-extensions:/i.test(header)) ?? ''
  if (!/permessage-deflate.*server_no_context_takeover/.test(line)) return undefined
  const [, bits = '15'] = /server_max_window_bits=(\d+)/.exec(line) ?? []
  return Number(bits) < SMALLEST_WINDOW ? undefined : { windowBits: Number(bits) }
}

/** Bytes from which a message is compressed. */
export function thresholdOf({ compression }: ConnectionSettings): number {
  return (typeof compression === 'object' ? compression.threshold : undefined) ?? 1024
}

/** Compresses a message for itself, RFC 7692 §7.2.1. */
export function deflated(
  payload: Uint8Array,
  { windowBits }: Agreement,
  compression: boolean | Compression,
): Uint8Array {
  const {
    level,
    memLevel,
    windowBits: most = 15,
  } = typeof compression === 'object' ? compression : {}
  const whole = deflateRawSync(payload, {
    finishFlush: constants.Z_SYNC_FLUSH,
    windowBits: Math.min(windowBits, most),
    ...(level !== undefined && { level }),
    ...(memLevel !== undefined && { memLevel }),
  })
  return whole.subarray(0, -TAIL)
}
