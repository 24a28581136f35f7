import {
  flag,
  isFunction,
  isObject,
  milliseconds,
  optional,
  resolveOptions,
  type Resolved,
} from '../../validation.ts'

/** The options of `channel.push`. */
export interface PushOptions {
  /**
   * Whether the promise waits for the reply. With false it resolves as soon as the event is sent,
   * and a reply is ignored: use it for events that the server doesn't answer. A server never waits
   * for a reply.
   *
   * @default true
   */
  reply?: boolean | undefined
  /**
   * Milliseconds that a client waits for the reply, or with `reply: false` until the event is sent.
   * A server waits for nothing.
   *
   * @default the `timeout` of the client
   */
  timeout?: number | undefined
  /**
   * A signal that abandons the push when it is aborted. An event that is not sent yet is never
   * sent, and a later reply is ignored.
   *
   * @default none
   */
  signal?: AbortSignal | undefined
}

const pushRules = {
  reply: { ...flag(), fallback: true },
  timeout: milliseconds(0, 1),
  signal: optional<AbortSignal>('an AbortSignal', isSignal),
}

/** The resolved options of a push. A `timeout` of 0 means that the caller gave none. */
export type PushSettings = Resolved<typeof pushRules>

const DEFAULTS: PushSettings = resolveOptions(pushRules)

/**
 * Resolves the options of a push with their defaults.
 *
 * @throws TypeError for an unknown name, with the nearest one, and for an invalid value.
 */
export function resolvePushOptions(options?: PushOptions): PushSettings {
  return options === undefined ? DEFAULTS : resolveOptions(pushRules, options)
}

function isSignal(value: unknown): boolean {
  return isObject(value) && 'addEventListener' in value && isFunction(value.addEventListener)
}
