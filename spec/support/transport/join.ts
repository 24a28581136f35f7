import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import type { ConnectionOptions } from '../../../lib/options/connection.ts'
import { resolveClient } from '../../../lib/options/node.ts'
import { resolveServer } from '../../../lib/options/server.ts'
import type { Transport } from '../../../lib/transport/transport.ts'
import type { Joined } from './contract.ts'
import type { Lane } from './wire.ts'

/** Joins two ends of a lane over TCP: the first is the server's. */
export async function join(lane: Lane, options: ConnectionOptions = {}): Promise<Joined> {
  const upgrade = lane.makeUpgrader(resolveServer(options))
  const http = createServer().listen(0, 'localhost')
  await once(http, 'listening')
  const { port } = http.address() as AddressInfo
  return new Promise((resolve, reject) => {
    let there: Transport | undefined
    http.on('upgrade', (request: IncomingMessage, tcp: Duplex, head: Buffer) => {
      there = upgrade(request, tcp, head)
    })
    lane.dial(
      {
        url: new URL(`ws://localhost:${port}`),
        protocols: [],
        headers: {},
        settings: resolveClient(options),
      },
      {
        onError: reject,
        onOpen: (here) => {
          assert.ok(there)
          const release = async (): Promise<void> => {
            http.close()
            await once(http, 'close')
          }
          resolve({ ends: [there, here], release })
        },
      },
    )
  })
}

/** The same two ends, the client's first. */
export async function turned(lane: Lane, options: ConnectionOptions = {}): Promise<Joined> {
  const { ends, release } = await join(lane, options)
  return { ends: [ends[1], ends[0]], release }
}
