import type { Agent } from 'node:http'
import type { ConnectionOptions as TlsOptions } from 'node:tls'
import { areHeaders, type ValueOrProvider } from './value-or-provider.ts'
import {
  bytes,
  checkNames,
  flag,
  isFunction,
  isArray,
  isObject,
  isIntegerFrom,
  milliseconds,
  optional,
  orFalse,
  type Rule,
} from '../validation.ts'

/** The parameters of permessage-deflate that both ends negotiate, RFC 7692 §7.1. */
export interface Negotiable {
  /**
   * Whether a server compresses each message without reference to earlier ones. With false a
   * message refers to those before it: it gets smaller, but takes more time, and on both ends each
   * connection keeps as many bytes as the window has.
   *
   * @default true
   */
  serverNoContextTakeover?: boolean | undefined
  /**
   * Whether a client compresses each message without reference to earlier ones: like
   * `serverNoContextTakeover`, for the messages that clients send.
   *
   * @default true
   */
  clientNoContextTakeover?: boolean | undefined
  /**
   * The size of the window that a server compresses with, as a power of two, 9 to 15: 512 bytes to
   * 32 KiB.
   *
   * @default 15
   */
  serverMaxWindowBits?: number | undefined
  /**
   * The size of the window that a client compresses with, as a power of two, 9 to 15. It has no
   * effect on a client that does not offer `client_max_window_bits`.
   *
   * @default 15
   */
  clientMaxWindowBits?: number | undefined
}

/** The options of permessage-deflate, RFC 7692. */
export interface Compression extends Negotiable {
  /**
   * Bytes. A shorter message is sent uncompressed.
   *
   * @default 1024
   */
  threshold?: number | undefined
  /**
   * The compression level of zlib, 0 (none) to 9.
   *
   * @default 6
   */
  level?: number | undefined
  /**
   * The memory level of zlib while it compresses a message, 1 to 9 (1 KiB to 256 KiB).
   *
   * @default as much as the message needs, 8 at most
   */
  memLevel?: number | undefined
}

const isBetween = (min: number, max: number) => (value: unknown) =>
  isIntegerFrom(value, min) && Number(value) <= max
const isBoolean = (value: unknown): boolean => typeof value === 'boolean'

const compressionRules: Readonly<Record<keyof Compression, (value: unknown) => boolean>> = {
  threshold: isBetween(0, Number.MAX_SAFE_INTEGER),
  level: isBetween(0, 9),
  memLevel: isBetween(1, 9),
  serverNoContextTakeover: isBoolean,
  clientNoContextTakeover: isBoolean,
  serverMaxWindowBits: isBetween(9, 15),
  clientMaxWindowBits: isBetween(9, 15),
}

function isCompression(value: unknown): boolean {
  if (typeof value === 'boolean') return true
  if (!isObject(value) || isArray(value)) return false
  checkNames(value, Object.keys(compressionRules), 'compression.')
  return Object.entries(value).every(([name, option]: [string, unknown]) => {
    return option === undefined || compressionRules[name as keyof Compression](option)
  })
}

/** The rules of the options that need control over the frames, which a browser doesn't give. */
export const frameRules = {
  maxReceivedFrameSize: orFalse(bytes(64 * 1024), false),
  messageTimeout: orFalse(milliseconds(30_000, 1), 30_000),
  fragmentationThreshold: orFalse(bytes(16 * 1024), false),
  useNagleAlgorithm: flag(),
  compression: {
    fallback: false,
    expected:
      'true, false, or { threshold, level (0 to 9), memLevel (1 to 9), ' +
      'serverMaxWindowBits and clientMaxWindowBits (9 to 15), ' +
      'serverNoContextTakeover and clientNoContextTakeover (true or false) }',
    isValid: isCompression,
  } as Rule<boolean | Compression>,
}

/** The rules of a client's options that need control over the handshake, not given in a browser. */
export const nodeClientRules = {
  ...frameRules,
  headers: {
    fallback: {},
    expected: 'a plain object of strings, or a function that returns one',
    isValid: (value) => isFunction(value) || areHeaders(value),
  } as Rule<ValueOrProvider<Readonly<Record<string, string>>>>,
  tls: optional<TlsOptions>('an object', isObject),
  agent: optional<Agent>('an http.Agent', isObject),
}
