import { clientRules, type ClientSettings } from './client.ts'
import { withWaitingBytes } from './connection.ts'
import { resolveOptions } from '../validation.ts'
import { nodeClientRules } from './node-only.ts'

/** Validates a client's options and fills in the defaults. */
export function resolveClient(options?: object): ClientSettings {
  return withWaitingBytes(resolveOptions({ ...clientRules, ...nodeClientRules }, options))
}
