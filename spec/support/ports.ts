import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'

// Below the ports that the system gives for port 0: a server that comes back finds its port free.
const FIRST = 12_000
// Files of specs run side by side, each in a process of its own: each has a slice of its own.
const [SLICES, WIDTH] = [60, 300]
const start = FIRST + (process.pid % SLICES) * WIDTH
let count = Math.floor(Math.random() * WIDTH)

/** Finds a free port that no other program is given while its server is away. */
export async function sparePort(): Promise<number> {
  for (;;) {
    const port = await bound(start + (count++ % WIDTH))
    if (port !== undefined) return port
  }
}

async function bound(asked: number): Promise<number | undefined> {
  const server = createServer().listen(asked) // on all addresses, as one of them may be taken
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
