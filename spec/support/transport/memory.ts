import { resolveClient } from '../../../lib/options/node.ts'
import { resolveServer } from '../../../lib/options/server.ts'
import { memoryPair } from '../../../lib/testing/memory-transport.ts'
import type { TcpTransport } from '../../../lib/transport/tcp/tcp-transport.ts'

/** Makes two transports with default settings, joined in memory. */
export function memoryEnds(protocol?: string): [server: TcpTransport, client: TcpTransport] {
  return memoryPair({ server: resolveServer({}), client: resolveClient({}), protocol })
}
