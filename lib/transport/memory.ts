import { duplexPair } from 'node:stream'
import type { ConnectionSettings } from '../options/connection.ts'
import { TcpTransport } from './tcp/tcp-transport.ts'

/** The settings of both ends, and the subprotocol they agreed on. */
interface MemoryOptions {
  readonly server: ConnectionSettings & { readonly rateLimit?: unknown }
  readonly client: ConnectionSettings
  readonly protocol?: string | undefined
}

/** Joins two transports by a stream in memory, in place of TCP: the frames are the same. */
export function joinInMemory({
  server,
  client,
  protocol = '',
}: MemoryOptions): [server: TcpTransport, client: TcpTransport] {
  const [here, there] = duplexPair()
  here.once('close', () => there.destroy()) // as TCP does, where one end is destroyed
  there.once('close', () => here.destroy())
  return [
    new TcpTransport(here, {
      ...{ side: 'server', protocol, settings: server },
      countsFrames: Boolean(server.rateLimit),
    }),
    new TcpTransport(there, { side: 'client', protocol, settings: client }),
  ]
}
