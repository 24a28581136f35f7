import { clientRules, type ClientSettings } from './client.ts'
import { withWaitingBytes } from './connection.ts'
import { resolveOptions, type Rule } from '../validation.ts'

/** Returns the rule of an option that a browser decides itself: only the default is accepted. */
function unsupported<Value>(fallback: Value, cure: string): Rule<Value> {
  return {
    fallback,
    expected: `left out in a browser: ${cure}`,
    isValid: (value) => value === fallback,
  }
}

const browserRules = {
  ...clientRules,
  headers: unsupported({}, 'send a subprotocol or a cookie instead'),
  tls: unsupported(undefined, 'it decides itself'),
  agent: unsupported(undefined, 'it decides itself'),
  compression: unsupported<false>(false, 'it offers it by itself, so let the server agree'),
  maxReceivedFrameSize: unsupported<false>(false, 'choose `maxReceivedMessageSize`'),
  messageTimeout: unsupported<false>(false, 'the server is trusted to end its messages'),
  fragmentationThreshold: unsupported<false>(false, 'send smaller messages'),
  useNagleAlgorithm: unsupported(false, 'it decides itself'),
}

/**
 * Validates a client's options in a browser and fills in the defaults. A browser can't send pings,
 * so there is no keepalive.
 */
export function resolveClient(options?: object): ClientSettings {
  return { ...withWaitingBytes(resolveOptions(browserRules, options)), keepaliveTimeout: false }
}
