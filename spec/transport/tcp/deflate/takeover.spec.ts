import assert from 'node:assert/strict'
import { once as emitted } from 'node:events'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import * as ws from 'ws'
import {
  listen,
  once,
  WebsocketClient,
  WebsocketServer,
  type Compression,
  type Data,
} from 'simplewebsockets'
import { below, noise, seeded } from '../../../support/random.ts'

// Ours with `ws` at the other end, which compresses in its own way.

const { SEED } = process.env
const seed = Number(SEED ?? Date.now() % 1e9)
const MESSAGES = 120

/** Makes messages of which many are like others, short and long. */
function messages(random: () => number): string[] {
  const kinds = Array.from({ length: 6 }, () =>
    noise(random, 2 + below(random, 700)).toString('hex'),
  )
  return Array.from({ length: MESSAGES }, (_, index) => {
    const length = random() < 0.1 ? 100_000 : below(random, 6_000)
    const kind = kinds[below(random, kinds.length)] ?? ''
    return `${index} ${kind.repeat(1 + length / kind.length)}`.slice(0, 10 + length)
  })
}

const BOTH: readonly boolean[] = [true, false]
const terms = BOTH.flatMap((serverNoContextTakeover) =>
  BOTH.flatMap((clientNoContextTakeover) =>
    [9, 12, 15].map((bits) => ({
      serverNoContextTakeover,
      clientNoContextTakeover,
      serverMaxWindowBits: bits,
      clientMaxWindowBits: 24 - bits,
    })),
  ),
)

for (const [index, each] of terms.entries()) {
  const compression: Compression = { ...each, threshold: 100 }
  const name = JSON.stringify(each)

  test(`a server talks with ws as agreed: ${name}, seed ${seed + index}`, async () => {
    const texts = messages(seeded(seed + index))
    await using server = new WebsocketServer({ compression, maxWaitingBytes: 16e6 })
    listen(server, 'client', (client) => {
      // Every other one goes out as to many.
      let count = 0
      listen(client, 'message', (text) => {
        if (count++ % 2 === 0) client.send(text)
        else server.emit(text)
      })
    })
    const { port } = await server.serve(0)
    const client = new ws.WebSocket(`ws://localhost:${port}`, {
      perMessageDeflate: { threshold: 100 },
    })
    await emitted(client, 'open')
    const heard: string[] = []
    const all = new Promise<void>((resolve) => {
      client.on('message', (data: Buffer) => {
        heard.push(data.toString())
        if (heard.length === texts.length) resolve()
      })
    })
    for (const text of texts) client.send(text)
    await all
    assert.deepEqual(heard, texts)
    client.terminate()
  })

  test(`a client talks with ws as agreed: ${name}, seed ${seed + index}`, async (t) => {
    const texts = messages(seeded(seed + index))
    const server = new ws.WebSocketServer({
      port: 0,
      perMessageDeflate: { threshold: 100 },
    })
    t.after(() => server.close())
    server.on('connection', (socket) => {
      socket.on('message', (data: Buffer) => socket.send(data.toString()))
    })
    await emitted(server, 'listening')
    const client = new WebsocketClient({ compression })
    const { port } = server.address() as AddressInfo
    const connection = await client.open(`ws://localhost:${port}`)
    const heard: Data[] = []
    const all = new Promise<void>((resolve) => {
      listen(connection, 'message', (data) => {
        heard.push(data)
        if (heard.length === texts.length) resolve()
      })
    })
    const closed = once(connection, 'close').then(({ code }) => assert.equal(code, 1000))
    for (const text of texts) connection.send(text)
    await all
    assert.deepEqual(heard, texts)
    await client.close()
    await closed
  })
}
