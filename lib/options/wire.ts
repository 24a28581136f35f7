import type { Agent } from 'node:http'
import type { ConnectionOptions as TlsOptions } from 'node:tls'
import { areHeaders, type Asked } from './asked.ts'
import {
  bytes,
  checkNames,
  flag,
  isFunction,
  isList,
  isObject,
  isWhole,
  optional,
  orFalse,
  type Rule,
} from './rules.ts'

/** How messages are compressed with permessage-deflate, RFC 7692. */
export interface Compression {
  /** Bytes; a smaller message goes out as it is. Default: 1024. */
  threshold?: number | undefined
  /** 0 (none) to 9 (best). Default: zlib's own, 6. */
  level?: number | undefined
  /** 1 to 9; how much memory a deflater takes. Default: zlib's own, 8. */
  memLevel?: number | undefined
  /**
   * 9 to 15; how far back a server's deflater looks, as a power of two, in messages of up to 64 KiB.
   * Default: 15.
   */
  windowBits?: number | undefined
}

const COMPRESSION_RANGES = {
  threshold: [0, Number.MAX_SAFE_INTEGER],
  level: [0, 9],
  memLevel: [1, 9],
  windowBits: [9, 15],
} as const

function isCompression(value: unknown): boolean {
  if (typeof value === 'boolean') return true
  if (!isObject(value) || isList(value)) return false
  checkNames(value, Object.keys(COMPRESSION_RANGES), 'compression.')
  return Object.entries(value).every(([name, given]: [string, unknown]) => {
    if (given === undefined) return true
    const [least, most] = COMPRESSION_RANGES[name as keyof typeof COMPRESSION_RANGES]
    return isWhole(given, least) && Number(given) <= most
  })
}

/** The rules of what can be chosen only where the frames are ours: not in a browser. */
export const wireRules = {
  maxReceivedFrameSize: orFalse(bytes(64 * 1024), false),
  fragmentationThreshold: orFalse(bytes(16 * 1024), false),
  useNagleAlgorithm: flag(),
  compression: {
    fallback: false,
    wanted:
      'true, false, or { threshold, level (0 to 9), memLevel (1 to 9), windowBits (9 to 15) }',
    accepts: isCompression,
  } as Rule<boolean | Compression>,
}

/** The rules of what a client can choose only where the dialling is ours: not in a browser. */
export const dialRules = {
  ...wireRules,
  headers: {
    fallback: {},
    wanted: 'a plain object of strings, or a function that returns one',
    accepts: (value) => isFunction(value) || areHeaders(value),
  } as Rule<Asked<Readonly<Record<string, string>>>>,
  tls: optional<TlsOptions>('an object', isObject),
  agent: optional<Agent>('an http.Agent', isObject),
}
