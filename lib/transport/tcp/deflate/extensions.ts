import type { IncomingHttpHeaders } from 'node:http'
import { extension } from 'ws'
import type { ConnectionSettings } from '../../../options/connection.ts'
import type { Negotiable } from '../../../options/node-only.ts'

const NAME = 'permessage-deflate'
export const MAX_WINDOW_BITS = 15
const WINDOW = /^(?:[89]|1[0-5])$/

/** The parameters of an extension, each with its values; true stands for a missing value. */
type Parameters = Readonly<Record<string, readonly (string | true)[]>>

// `ws` exports these, but its types lack them.
declare module 'ws' {
  /** The parser and formatter of extension lists. */
  const extension: {
    /** @throws SyntaxError if the header is not a list of extensions. */
    parse(header: string): Readonly<Record<string, readonly Parameters[]>>
    format(extensions: Readonly<Record<string, readonly Parameters[]>>): string
  }

  /** The parser of subprotocol lists. */
  const subprotocol: {
    /** @throws SyntaxError if the header is not a list of subprotocols. */
    parse(header: string): Set<string>
  }
}

/** The parameters agreed on for one direction, RFC 7692 §7.1. */
export interface Direction {
  /** The base-2 logarithm of the distance that a message may look back, in bytes. */
  readonly windowBits: number
  /** Whether a message may look back at the messages before it (context takeover). */
  readonly keepsContext: boolean
}

/** The parameters agreed on, as one end sees them. */
export interface DeflateParameters {
  readonly send: Direction
  readonly receive: Direction
}

/** A server's answer to an offer, and the parameters that follow from it. */
export interface Agreement {
  /** The value of the Sec-WebSocket-Extensions header. */
  readonly answer: string
  readonly parameters: DeflateParameters
}

/** The negotiable options of permessage-deflate, with all defaults filled in. */
type Negotiated = { readonly [Name in keyof Negotiable]-?: NonNullable<Negotiable[Name]> }

/** Returns the options of permessage-deflate with their defaults. */
export function deflateOptions({ compression }: ConnectionSettings): Negotiated {
  const options = typeof compression === 'object' ? compression : {}
  return {
    serverNoContextTakeover: options.serverNoContextTakeover ?? true,
    clientNoContextTakeover: options.clientNoContextTakeover ?? true,
    serverMaxWindowBits: options.serverMaxWindowBits ?? MAX_WINDOW_BITS,
    clientMaxWindowBits: options.clientMaxWindowBits ?? MAX_WINDOW_BITS,
  }
}

/**
 * Chooses the first valid offer, RFC 7692 §7.1, and answers it within the limits of the options.
 *
 * @throws SyntaxError if the header is not a list of extensions.
 */
export function acceptOffer(header: string, settings: ConnectionSettings): Agreement | undefined {
  const offer = parseOffers(header).find((parameters) => isValid(parameters, 'client'))
  if (!offer) return undefined
  const options = deflateOptions(settings)
  const send: Direction = {
    windowBits: Math.min(readWindow(offer.server_max_window_bits), options.serverMaxWindowBits),
    keepsContext: !has(offer, 'server_no_context_takeover') && !options.serverNoContextTakeover,
  }
  const receive: Direction = {
    // Only a client that offers the parameter can be asked for a smaller window.
    windowBits: has(offer, 'client_max_window_bits')
      ? Math.min(readWindow(offer.client_max_window_bits), options.clientMaxWindowBits)
      : MAX_WINDOW_BITS,
    keepsContext: !has(offer, 'client_no_context_takeover') && !options.clientNoContextTakeover,
  }
  const answer = {
    ...(!send.keepsContext && { server_no_context_takeover: [true] as const }),
    ...(!receive.keepsContext && { client_no_context_takeover: [true] as const }),
    ...((has(offer, 'server_max_window_bits') || send.windowBits < MAX_WINDOW_BITS) && {
      server_max_window_bits: [`${send.windowBits}`],
    }),
    ...((typeof offer.client_max_window_bits?.[0] === 'string' ||
      receive.windowBits < MAX_WINDOW_BITS) && {
      client_max_window_bits: [`${receive.windowBits}`],
    }),
  }
  return { answer: extension.format({ [NAME]: [answer] }), parameters: { send, receive } }
}

/** Reads a server's answer. `ws` has checked already that it matches the offer. */
export function readAnswer(
  { 'sec-websocket-extensions': header }: IncomingHttpHeaders,
  settings: ConnectionSettings,
): DeflateParameters | undefined {
  const [answer] = header === undefined ? [] : parseOffers(header)
  if (!answer) return undefined
  const options = deflateOptions(settings)
  return {
    send: {
      windowBits: Math.min(readWindow(answer.client_max_window_bits), options.clientMaxWindowBits),
      keepsContext: !has(answer, 'client_no_context_takeover') && !options.clientNoContextTakeover,
    },
    receive: {
      windowBits: readWindow(answer.server_max_window_bits),
      keepsContext: !has(answer, 'server_no_context_takeover'),
    },
  }
}

/**
 * Returns whether a server's answer is valid in the points that `ws` doesn't check. Returns true
 * for a header that is not a list, because `ws` rejects it.
 */
export function isValidAnswer({
  'sec-websocket-extensions': header,
}: IncomingHttpHeaders): boolean {
  try {
    const answers = header === undefined ? [] : parseOffers(header)
    return answers.length < 2 && answers.every((answer) => isValid(answer, 'server'))
  } catch {
    return true
  }
}

const has = (parameters: Parameters, name: string): boolean => Object.hasOwn(parameters, name)

function parseOffers(header: string): readonly Parameters[] {
  return extension.parse(header)[NAME] ?? []
}

/** Returns whether the offer of a client or the answer of a server is valid, RFC 7692 §7.1. */
function isValid(parameters: Parameters, from: 'client' | 'server'): boolean {
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

function readWindow([bits]: readonly (string | true)[] = []): number {
  return typeof bits === 'string' ? Number(bits) : MAX_WINDOW_BITS
}
