import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { test } from 'node:test'
import type { ConnectionOptions } from '../../lib/options/connection.ts'
import { resolveClient } from '../../lib/options/node.ts'
import { resolveServer } from '../../lib/options/server.ts'
import type { Call, Receiver, Transport } from '../../lib/transport/transport.ts'
import { dial, makeUpgrader, onWake } from '../../lib/transport/ws.ts'
import { transportContract, type Joined } from './contract.ts'

const deaf: Receiver = {
  message: () => {},
  ping: () => {},
  pong: () => {},
  written: () => {},
  closing: () => {},
  invalid: () => {},
  closed: () => {},
}

/** Joins two ends over TCP: the first is the server's. */
async function join(options: ConnectionOptions = {}): Promise<Joined> {
  const upgrade = makeUpgrader(resolveServer(options))
  const http = createServer().listen(0, 'localhost')
  await once(http, 'listening')
  const { port } = http.address() as AddressInfo
  return new Promise((resolve, reject) => {
    let there: Transport | undefined
    http.on('upgrade', (request: IncomingMessage, tcp: Duplex, head: Buffer) => {
      there = upgrade(request, tcp, head)
    })
    dial(
      {
        url: new URL(`ws://localhost:${port}`),
        protocols: [],
        headers: {},
        settings: resolveClient(options),
      },
      {
        failed: reject,
        opened: (here) => {
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
async function turned(options: ConnectionOptions = {}): Promise<Joined> {
  const { ends, release } = await join(options)
  return { ends: [ends[1], ends[0]], release }
}

transportContract('ws, from the server', () => join())
transportContract('ws, from the client', () => turned())
transportContract('ws, compressed, from the server', () => join({ compression: { threshold: 0 } }))
transportContract('ws, compressed, from the client', () =>
  turned({ compression: { threshold: 0 } }),
)
transportContract('ws, in fragments, from the server', () => join({ fragmentationThreshold: 100 }))
transportContract('ws, in fragments, from the client', () =>
  turned({ fragmentationThreshold: 100 }),
)

for (const compression of [false, { threshold: 0 }]) {
  test(`ws: fragments may end inside a character, compressed: ${compression !== false}`, async () => {
    const { ends, release } = await join({ fragmentationThreshold: 3, compression })
    const received = new Promise((resolve) => {
      ends[1].start({ ...deaf, message: resolve })
    })
    const closed = new Promise((resolve) => ends[0].start({ ...deaf, closed: resolve }))
    ends[0].send('grüße 😀 und €')
    assert.equal(await received, 'grüße 😀 und €')
    ends[0].cut()
    await closed
    await release()
  })
}

for (const [what, change] of [
  ['a fragment', { url: new URL('ws://localhost:1/#x') }],
  ['a header of two lines', { headers: { a: 'b\r\nc: d' } }],
  ['a subprotocol twice', { protocols: ['a', 'a'] }],
] as [string, Partial<Call>][]) {
  test(`ws: a call with ${what} can't be dialled at all, and throws`, () => {
    const call = { url: new URL('ws://localhost:1'), protocols: [], headers: {}, ...change }
    const told = { opened: () => assert.fail(), failed: () => assert.fail() }
    assert.throws(() => dial({ ...call, settings: resolveClient() }, told))
  })
}

test('Node is told of no wake, and has nothing to let go of', (t) => {
  const timers = t.mock.method(globalThis, 'setTimeout')
  const sleep = onWake(() => assert.fail('nobody knows'))
  sleep()
  sleep()
  assert.equal(timers.mock.callCount(), 0)
})
