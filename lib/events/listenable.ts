import { EMITTER, type EVENTS } from '../internal.ts'
import { checkNames, checkSignal, invalidValue } from '../validation.ts'
import type { Emitter } from './emitter.ts'

/** Anything you can `listen` to: its events and their values are those of `Events`. */
export interface Listenable<out Events extends object> {
  /** @hidden */
  readonly [EMITTER]: Emitter<any>
  /** @hidden */
  readonly [EVENTS]?: Events
}

/**
 * Returns the private half of a target.
 *
 * @throws TypeError for a value that is no target, and for an event that the target doesn't have.
 */
export function emitterOf<Events extends object>(
  target: Listenable<Events>,
  event: keyof Events,
): Emitter<Events> {
  if (typeof target !== 'object' || target === null || !(EMITTER in target)) {
    throw invalidValue(
      'the target of `listen`',
      'a server, client, connection, room, channel, topic or presence',
      target,
    )
  }
  const emitter = target[EMITTER] as Emitter<Events>
  emitter.assertEvent(event)
  return emitter
}

/** Checks the options of `listen` or `once`. */
export function checkOptions(
  options: { signal?: AbortSignal | undefined },
  known: readonly string[],
): void {
  checkNames(options, known)
  checkSignal(options.signal)
}
