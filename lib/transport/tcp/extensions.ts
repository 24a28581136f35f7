import type { IncomingHttpHeaders } from 'node:http'
import { extension } from 'ws'
import type { ConnectionSettings } from '../../options/connection.ts'
import type { Negotiable } from '../../options/wire.ts'

const NAME = 'permessage-deflate'
export const LARGEST_WINDOW = 15
const WINDOW = /^(?:[89]|1[0-5])$/

/** The parameters of an extension, each with the values it came with: true where it has none. */
type Parameters = Readonly<Record<string, readonly (string | true)[]>>

// `ws` exports these, and its types don't say so.
declare module 'ws' {
  /** Reads and writes lists of extensions. */
  const extension: {
    /** @throws SyntaxError for what is none. */
    parse(header: string): Readonly<Record<string, readonly Parameters[]>>
    format(extensions: Readonly<Record<string, readonly Parameters[]>>): string
  }

  /** Reads lists of subprotocols. */
  const subprotocol: {
    /** @throws SyntaxError for what is none. */
    parse(header: string): Set<string>
  }
}

/** What was agreed on for one direction, RFC 7692 §7.1. */
export interface Direction {
  /** How far back a message may look, as a power of two. */
  readonly windowBits: number
  /** Whether a message may look at those before it. */
  readonly keepsContext: boolean
}

/** The parameters agreed on, as one end sees them. */
export interface DeflateParameters {
  readonly send: Direction
  readonly receive: Direction
}

/** What a server answers to an offer, and what it means. */
export interface Agreement {
  /** The value of the header that says so. */
  readonly answer: string
  readonly parameters: DeflateParameters
}

/** The options of permessage-deflate that both ends agree on, settled. */
type Negotiated = { readonly [Name in keyof Negotiable]-?: NonNullable<Negotiable[Name]> }

/** Returns the options of permessage-deflate with their defaults. */
export function deflateOptions({ compression }: ConnectionSettings): Negotiated {
  const chosen = typeof compression === 'object' ? compression : {}
  return {
    serverNoContextTakeover: chosen.serverNoContextTakeover ?? true,
    clientNoContextTakeover: chosen.clientNoContextTakeover ?? true,
    serverMaxWindowBits: chosen.serverMaxWindowBits ?? LARGEST_WINDOW,
    clientMaxWindowBits: chosen.clientMaxWindowBits ?? LARGEST_WINDOW,
  }
}

/**
 * Chooses the first offer that makes sense, RFC 7692 §7.1, and answers it within the options.
 *
 * @throws SyntaxError for what is no list of extensions.
 */
export function acceptOffer(header: string, settings: ConnectionSettings): Agreement | undefined {
  const offer = parseOffers(header).find((each) => makesSense(each, 'client'))
  if (!offer) return undefined
  const options = deflateOptions(settings)
  const send: Direction = {
    windowBits: Math.min(windowOf(offer.server_max_window_bits), options.serverMaxWindowBits),
    keepsContext: !has(offer, 'server_no_context_takeover') && !options.serverNoContextTakeover,
  }
  const receive: Direction = {
    // A client that does not say it knows the parameter can't be told to use a smaller window.
    windowBits: has(offer, 'client_max_window_bits')
      ? Math.min(windowOf(offer.client_max_window_bits), options.clientMaxWindowBits)
      : LARGEST_WINDOW,
    keepsContext: !has(offer, 'client_no_context_takeover') && !options.clientNoContextTakeover,
  }
  const answer = {
    ...(!send.keepsContext && { server_no_context_takeover: [true] as const }),
    ...(!receive.keepsContext && { client_no_context_takeover: [true] as const }),
    ...((has(offer, 'server_max_window_bits') || send.windowBits < LARGEST_WINDOW) && {
      server_max_window_bits: [`${send.windowBits}`],
    }),
    ...((typeof offer.client_max_window_bits?.[0] === 'string' ||
      receive.windowBits < LARGEST_WINDOW) && {
      client_max_window_bits: [`${receive.windowBits}`],
    }),
  }
  return { answer: extension.format({ [NAME]: [answer] }), parameters: { send, receive } }
}

/** Reads what a server has answered, which `ws` has found to be one that was offered. */
export function readAnswer(
  { 'sec-websocket-extensions': header }: IncomingHttpHeaders,
  settings: ConnectionSettings,
): DeflateParameters | undefined {
  const [answer] = header === undefined ? [] : parseOffers(header)
  if (!answer) return undefined
  const options = deflateOptions(settings)
  return {
    send: {
      windowBits: Math.min(windowOf(answer.client_max_window_bits), options.clientMaxWindowBits),
      keepsContext: !has(answer, 'client_no_context_takeover') && !options.clientNoContextTakeover,
    },
    receive: {
      windowBits: windowOf(answer.server_max_window_bits),
      keepsContext: !has(answer, 'server_no_context_takeover'),
    },
  }
}

/** Returns whether a server's answer makes sense where `ws` does not look; what is no list `ws` refuses. */
export function isSensibleAnswer({
  'sec-websocket-extensions': header,
}: IncomingHttpHeaders): boolean {
  try {
    const answers = header === undefined ? [] : parseOffers(header)
    return answers.length < 2 && answers.every((answer) => makesSense(answer, 'server'))
  } catch {
    return true
  }
}

const has = (parameters: Parameters, name: string): boolean => Object.hasOwn(parameters, name)

function parseOffers(header: string): readonly Parameters[] {
  return extension.parse(header)[NAME] ?? []
}

/** Returns whether an offer of a client, or the answer of a server, makes sense: RFC 7692 §7.1. */
function makesSense(parameters: Parameters, from: 'client' | 'server'): boolean {
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

function windowOf([bits]: readonly (string | true)[] = []): number {
  return typeof bits === 'string' ? Number(bits) : LARGEST_WINDOW
}
