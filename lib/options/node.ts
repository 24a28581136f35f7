import { clientRules, type ClientOptions, type ClientSettings } from './client.ts'
import { withWaitingBytes } from './connection.ts'
import { settle } from './rules.ts'
import { dialRules } from './wire.ts'

/** Settles a client's options. */
export function resolveClient(given?: ClientOptions): ClientSettings {
  return withWaitingBytes(settle({ ...clientRules, ...dialRules }, given))
}
