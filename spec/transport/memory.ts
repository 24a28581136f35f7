import { resolveClient } from '../../lib/options/node.ts'
import { resolveServer } from '../../lib/options/server.ts'
import { joinInMemory } from '../../lib/transport/memory.ts'
import type { TcpTransport } from '../../lib/transport/tcp/tcp-transport.ts'

/** Makes two transports with default settings, joined in memory. */
export function memoryEnds(protocol?: string): [server: TcpTransport, client: TcpTransport] {
  return joinInMemory({ server: resolveServer({}), client: resolveClient({}), protocol })
}
