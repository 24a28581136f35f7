import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { listen, WebsocketServer } from 'simplewebsockets'
import { turn } from '../support/scene.ts'

const PERIOD = 1_000
const PEERS = 200
const STALLS = 3

/** Honest peers in a process of their own, which answer every ping. */
const CLIENTS = `
  const WebSocket = require('ws')
  const sockets = Array.from({ length: ${PEERS} }, () => new WebSocket('ws://localhost:' + process.env.PORT))
  let count = 0
  for (const socket of sockets) socket.on('open', () => ++count === ${PEERS} && console.log('all in'))`

/** Keeps this process busy, so that nothing else runs in it. */
function stall(milliseconds: number): void {
  const end = performance.now() + milliseconds
  while (performance.now() < end);
}

test(`${STALLS} stalls just longer than keepaliveTimeout give up none of ${PEERS} honest peers`, async (t) => {
  await using server = new WebsocketServer({ keepaliveTimeout: PERIOD })
  let gone = 0
  listen(server, 'client', (client) => {
    listen(client, 'close', () => {
      gone++
    })
  })
  const { port } = await server.serve(0)
  const child = spawn(process.execPath, ['-e', CLIENTS], {
    cwd: join(import.meta.dirname, '../..'),
    env: { ...process.env, PORT: `${port}` },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.after(() => child.kill('SIGKILL'))
  await createInterface(child.stdout)[Symbol.asyncIterator]().next()
  for (let count = 0; count < STALLS; count++) {
    const { bytesSent } = server.stats()
    while (server.stats().bytesSent === bytesSent && gone === 0) await turn()
    stall(1.1 * PERIOD) // the pings are out, and no answer was read
    await new Promise((resolve) => setTimeout(resolve, PERIOD / 2))
  }
  assert.equal(gone, 0)
  assert.equal(server.clients.size, PEERS)
})
