import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'

// Below those that the system gives to whoever asks for port 0: a server that comes back finds it free.
const [FIRST, COUNT] = [12_000, 18_000]

/** Is a port that nobody listens on, and that others are not given while its server is away. */
export async function sparePort(): Promise<number> {
  for (;;) {
    const asked = FIRST + Math.floor(Math.random() * COUNT)
    const port = await bound(asked)
    if (port !== undefined) return port
  }
}

async function bound(asked: number): Promise<number | undefined> {
  const server = createServer().listen(asked) // on all addresses, as somebody may be on one of them
  try {
    await once(server, 'listening')
  } catch {
    return undefined
  }
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
