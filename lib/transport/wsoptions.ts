import type { IncomingHttpHeaders } from 'node:http'
import { extension, type PerMessageDeflateOptions } from 'ws'
import type { ConnectionSettings } from '../options/connection.ts'
import { EXTENSION } from './deflate.ts'
import type { Parameters } from './parts.ts'
import { mostFragments } from './scanner.ts'

const MOST_OF_WS = 2 ** 31 - 1

/** The options of `ws` that both sides have. */
export function shared(settings: ConnectionSettings): {
  maxPayload: number
  maxFragments: number
  autoPong: boolean
  perMessageDeflate: false | PerMessageDeflateOptions
} {
  return {
    maxPayload: mostPayload(settings),
    maxFragments: mostFragments(settings),
    autoPong: false,
    perMessageDeflate: deflation(settings.compression),
  }
}

/** Is how many bytes a message may take as it comes: compressing makes some longer. */
function mostPayload({ compression, maxReceivedMessageSize: most }: ConnectionSettings): number {
  if (compression === false) return most
  return Math.min(most + Math.ceil(most / 8) + 1024, MOST_OF_WS)
}

/** Keeps no context from one message to the next: it would cost each connection 227 KiB. */
function deflation(
  compression: ConnectionSettings['compression'],
): false | PerMessageDeflateOptions {
  if (compression === false) return false
  const { threshold = 1024, ...zlib } = compression === true ? {} : compression
  return {
    serverNoContextTakeover: true,
    clientNoContextTakeover: true,
    threshold,
    zlibDeflateOptions: Object.fromEntries(
      Object.entries(zlib).filter(([, value]) => value !== undefined),
    ),
  }
}

/** Reads what is said of the extension; nothing where that is no list, which `ws` refuses. */
export function listed(headers: IncomingHttpHeaders): readonly Parameters[] {
  const { 'sec-websocket-extensions': header } = headers
  try {
    return header === undefined ? [] : (extension.parse(header)[EXTENSION] ?? [])
  } catch {
    return []
  }
}
