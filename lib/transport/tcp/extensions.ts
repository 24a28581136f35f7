import type { IncomingHttpHeaders } from 'node:http'
import { extension } from 'ws'

const NAME = 'permessage-deflate'
const LARGEST_WINDOW = 15
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

/** The parameters agreed on, RFC 7692 §7.1, as one end sees them. */
export interface DeflateParameters {
  /** How far back what is sent may look, as a power of two. */
  readonly deflateWindowBits: number
  /** How far back what is received may look, as a power of two. */
  readonly inflateWindowBits: number
  /** Whether what is received may look at the messages before it. */
  readonly keepsContext: boolean
}

/** What a server answers to an offer, and what it means. */
export interface Agreement {
  /** The value of the header that says so. */
  readonly answer: string
  readonly parameters: DeflateParameters
}

/**
 * Chooses the first offer that makes sense, RFC 7692 §7.1. Neither side keeps a context from one
 * message to the next: that would cost each connection 227 KiB.
 *
 * @throws SyntaxError for what is no list of extensions.
 */
export function acceptOffer(header: string): Agreement | undefined {
  const offer = parseOffers(header).find((each) => makesSense(each, 'client'))
  if (!offer) return undefined
  const [deflateBits] = offer.server_max_window_bits ?? []
  const [inflateBits] = offer.client_max_window_bits ?? []
  const answer = {
    server_no_context_takeover: [true] as const,
    client_no_context_takeover: [true] as const,
    ...(typeof deflateBits === 'string' && { server_max_window_bits: [deflateBits] }),
    ...(typeof inflateBits === 'string' && { client_max_window_bits: [inflateBits] }),
  }
  return {
    answer: extension.format({ [NAME]: [answer] }),
    parameters: {
      deflateWindowBits: windowOf(deflateBits),
      inflateWindowBits: windowOf(inflateBits),
      keepsContext: false,
    },
  }
}

/** Reads what a server has answered, which `ws` has found to be one that was offered. */
export function readAnswer(headers: IncomingHttpHeaders): DeflateParameters | undefined {
  const { 'sec-websocket-extensions': header } = headers
  const [answer] = header === undefined ? [] : parseOffers(header)
  if (!answer) return undefined
  return {
    deflateWindowBits: windowOf(answer.client_max_window_bits?.[0]),
    inflateWindowBits: windowOf(answer.server_max_window_bits?.[0]),
    keepsContext: answer.server_no_context_takeover === undefined,
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

function windowOf(bits: string | true | undefined): number {
  return typeof bits === 'string' ? Number(bits) : LARGEST_WINDOW
}
