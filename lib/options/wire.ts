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
  milliseconds,
  optional,
  orFalse,
  type Rule,
} from './rules.ts'

/** The parameters of permessage-deflate that both ends agree on, RFC 7692 §7.1. */
export interface Negotiable {
  /**
   * Whether a server compresses each message for itself. false: a message may look back at those
   * before it, which makes it smaller, takes as many bytes for each connection as the window has, on
   * both ends, and more time.
   *
   * @default true
   */
  serverNoContextTakeover?: boolean | undefined
  /**
   * Whether a client compresses each message for itself: as `serverNoContextTakeover`, for what
   * clients send.
   *
   * @default true
   */
  clientNoContextTakeover?: boolean | undefined
  /**
   * How far back a server looks in what it sends, as a power of two, 9 to 15: 512 bytes to 32 KiB.
   *
   * @default 15
   */
  serverMaxWindowBits?: number | undefined
  /**
   * How far back a client looks in what it sends, 9 to 15. A client that does not offer
   * `client_max_window_bits` can't be told.
   *
   * @default 15
   */
  clientMaxWindowBits?: number | undefined
}

/** How messages are compressed with permessage-deflate, RFC 7692. */
export interface Compression extends Negotiable {
  /**
   * Bytes. A shorter message is sent as it is.
   *
   * @default 1024
   */
  threshold?: number | undefined
  /**
   * How hard zlib tries, 0 (not at all) to 9.
   *
   * @default zlib's own, 6
   */
  level?: number | undefined
  /**
   * How much memory zlib takes while it compresses a message, 1 to 9 (1 KiB to 256 KiB).
   *
   * @default as much as the message needs, 8 at most
   */
  memLevel?: number | undefined
}

const isBetween = (least: number, most: number) => (value: unknown) =>
  isWhole(value, least) && Number(value) <= most
const isFlag = (value: unknown): boolean => typeof value === 'boolean'

const compressionRules: Readonly<Record<keyof Compression, (value: unknown) => boolean>> = {
  threshold: isBetween(0, Number.MAX_SAFE_INTEGER),
  level: isBetween(0, 9),
  memLevel: isBetween(1, 9),
  serverNoContextTakeover: isFlag,
  clientNoContextTakeover: isFlag,
  serverMaxWindowBits: isBetween(9, 15),
  clientMaxWindowBits: isBetween(9, 15),
}

function isCompression(value: unknown): boolean {
  if (typeof value === 'boolean') return true
  if (!isObject(value) || isList(value)) return false
  checkNames(value, Object.keys(compressionRules), 'compression.')
  return Object.entries(value).every(([name, given]: [string, unknown]) => {
    return given === undefined || compressionRules[name as keyof Compression](given)
  })
}

/** The rules of what can be chosen only where the frames are ours: not in a browser. */
export const wireRules = {
  maxReceivedFrameSize: orFalse(bytes(64 * 1024), false),
  messageTimeout: orFalse(milliseconds(30_000, 1), 30_000),
  fragmentationThreshold: orFalse(bytes(16 * 1024), false),
  useNagleAlgorithm: flag(),
  compression: {
    fallback: false,
    wanted:
      'true, false, or { threshold, level (0 to 9), memLevel (1 to 9), ' +
      'serverMaxWindowBits and clientMaxWindowBits (9 to 15), ' +
      'serverNoContextTakeover and clientNoContextTakeover (true or false) }',
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
