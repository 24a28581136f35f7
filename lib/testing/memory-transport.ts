import { duplexPair } from 'node:stream'
import type { ConnectionSettings } from '../options/connection.ts'
import { TcpTransport } from '../transport/tcp/tcp-transport.ts'

/** The settings of both ends, and the subprotocol that they agreed on. */
interface MemoryOptions {
  readonly server: ConnectionSettings & { readonly rateLimit?: unknown }
  readonly client: ConnectionSettings
  readonly protocol?: string | undefined
}

/** Connects two transports through a stream in memory instead of TCP. The frames are the same. */
export function memoryPair({
  server,
  client,
  protocol = '',
}: MemoryOptions): [server: TcpTransport, client: TcpTransport] {
  const [serverEnd, clientEnd] = duplexPair()
  // As in TCP, destroying one end destroys the other.
  serverEnd.once('close', () => clientEnd.destroy())
  clientEnd.once('close', () => serverEnd.destroy())
  return [
    new TcpTransport(serverEnd, {
      side: 'server',
      protocol,
      settings: server,
      countsFrames: Boolean(server.rateLimit),
    }),
    new TcpTransport(clientEnd, { side: 'client', protocol, settings: client }),
  ]
}
