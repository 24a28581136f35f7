import { clientRules, type ClientOptions, type ClientSettings } from './client.ts'
import { withWaitingBytes } from './connection.ts'
import { settle, type Rule } from './rules.ts'

/** The rule of what a browser decides alone: its default may be said, nothing else. */
function left<Value>(fallback: Value, cure: string): Rule<Value> {
  return {
    fallback,
    wanted: `left out in a browser: ${cure}`,
    accepts: (value) => value === fallback,
  }
}

const browserRules = {
  ...clientRules,
  headers: left({}, "put it into the url's query, a cookie, or a subprotocol"),
  tls: left(undefined, 'it has its own certificates'),
  agent: left(undefined, 'it has its own proxies'),
  compression: left<false>(false, 'it offers it by itself, so let the server agree'),
  maxReceivedFrameSize: left<false>(false, 'choose `maxReceivedMessageSize`'),
  messageTimeout: left<false>(false, 'the server is trusted to end its messages'),
  fragmentationThreshold: left<false>(false, 'send smaller messages'),
  useNagleAlgorithm: left(false, 'it sends when it likes'),
}

/** Settles a client's options in a browser, which has no pings to keep a connection alive with. */
export function resolveClient(given?: ClientOptions): ClientSettings {
  return { ...withWaitingBytes(settle(browserRules, given)), keepaliveTimeout: false }
}
