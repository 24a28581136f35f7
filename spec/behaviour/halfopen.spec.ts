import assert from 'node:assert/strict'
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { once as onceEmitted } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { test, type TestContext } from 'node:test'
import { listen, once, WebsocketClient, WebsocketServer } from 'simplewebsockets'
import type { WebsocketConnection } from 'simplewebsockets'
import { RawPeer, RawServer } from '../support/rawpeer.ts'

const PERIOD = 250
const KEEPALIVE = { keepaliveTimeout: PERIOD }
const SLACK = 1_000 // for a machine that has more to do

interface Child {
  readonly process: ChildProcessByStdio<null, Readable, null>
  readonly line: () => Promise<string>
}

/** Runs a peer of its own, made with bare `ws`. */
function start(t: TestContext, code: string, port = 0): Child {
  const child = spawn(process.execPath, ['-e', code], {
    cwd: join(import.meta.dirname, '../..'),
    env: { ...process.env, PORT: `${port}` },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.after(() => child.kill('SIGKILL'))
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  return { process: child, line: async () => String((await lines.next()).value) }
}

const SERVER = `
  const server = new (require('ws').WebSocketServer)({ port: 0 })
  server.on('listening', () => console.log(server.address().port))
  server.on('connection', (socket) => socket.on('close', (code) => console.log('closed', code)))`

const CLIENT = `
  const socket = new (require('ws'))('ws://localhost:' + process.env.PORT)
  socket.on('close', (code) => console.log('closed', code))`

/** Sees that a connection is given up two to three periods after its peer's last byte. */
async function givenUp(
  connection: WebsocketConnection,
  peer: string,
  since: number,
): Promise<void> {
  const reason = await once(connection, 'close')
  const periods = (performance.now() - since) / PERIOD
  assert.deepEqual(reason, { code: 1006, description: `could not ping the ${peer}.` })
  assert.ok(periods > 1.9 && periods < 3 + SLACK / PERIOD, `given up after ${periods} periods`)
}

test('a client gives up a server whose process is frozen', async (t) => {
  const child = start(t, SERVER)
  const client = new WebsocketClient(KEEPALIVE)
  const here = await client.open(`ws://localhost:${await child.line()}`)
  await here.ping()
  child.process.kill('SIGSTOP')
  await givenUp(here, 'server', performance.now())
  child.process.kill('SIGCONT')
  assert.equal(await child.line(), 'closed 1006')
})

test('a server gives up a client whose process is frozen', async (t) => {
  await using server = new WebsocketServer(KEEPALIVE)
  const { port } = await server.serve(0)
  const entered = once(server, 'client')
  const child = start(t, CLIENT, port)
  const there = await entered
  await there.ping()
  child.process.kill('SIGSTOP')
  await givenUp(there, 'client', performance.now())
  assert.equal(server.clients.size, 0)
  child.process.kill('SIGCONT')
  assert.equal(await child.line(), 'closed 1006')
})

test('a peer that is there is never given up, as long as it answers pings', async (t) => {
  await using server = new WebsocketServer(KEEPALIVE)
  const { port } = await server.serve(0)
  const entered = once(server, 'client')
  const child = start(t, `${CLIENT}.on('ping', () => console.log('pinged'))`, port)
  const there = await entered
  for (let ping = 0; ping < 4; ping++) assert.equal(await child.line(), 'pinged')
  assert.ok(there.isOpen)
})

/** A wire between two ends that can be cut so that neither notices: bytes vanish. */
class Wire implements AsyncDisposable {
  port = 0
  broken = false
  readonly #sockets: Socket[] = []
  readonly #server = createServer((one) => {
    const other = connect(this.#to, 'localhost')
    this.#carry(one, other)
    this.#carry(other, one)
  })
  readonly #to: number

  constructor(to: number) {
    this.#to = to
  }

  async lay(): Promise<this> {
    await onceEmitted(this.#server.listen(0, 'localhost'), 'listening')
    this.port = (this.#server.address() as AddressInfo).port
    return this
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
    await onceEmitted(this.#server, 'close')
  }

  #carry(from: Socket, to: Socket): void {
    this.#sockets.push(from)
    from.on('error', () => {})
    from.on('data', (chunk) => !this.broken && to.write(chunk))
    from.on('close', () => !this.broken && to.destroy())
  }
}

test('both ends of a wire that swallows everything give up, and the client comes back', async () => {
  await using server = new WebsocketServer(KEEPALIVE)
  const { port } = await server.serve(0)
  await using wire = await new Wire(port).lay()
  const client = new WebsocketClient({ ...KEEPALIVE, reconnect: { delay: () => 1 } })
  const entered = once(server, 'client')
  const here = await client.open(`ws://localhost:${wire.port}`)
  const there = await entered
  await here.ping()
  wire.broken = true
  const again = once(client, 'connect')
  const mended = once(here, 'close').then(() => (wire.broken = false))
  const now = performance.now()
  await Promise.all([givenUp(here, 'server', now), givenUp(there, 'client', now), mended])
  assert.ok((await (await again).ping()) >= 0)
  await client.close()
})

/** Says something again and again, and answers no ping. */
function babble(peer: RawPeer, masked: boolean): NodeJS.Timeout {
  return setInterval(() => peer.send(1, 'busy', { masked }), PERIOD / 5)
}

/** Hears a busy peer for many periods. */
async function heardOut(connection: WebsocketConnection): Promise<void> {
  let count = 0
  for await (const message of listen(connection, 'message')) {
    assert.equal(message, 'busy')
    if (++count === 30) return
  }
  assert.fail(`it ended after ${count} messages`)
}

test('a server lets a busy client live that answers no ping', async () => {
  await using server = new WebsocketServer(KEEPALIVE)
  const { port } = await server.serve(0)
  const entered = once(server, 'client')
  const peer = await RawPeer.enter(port)
  const timer = babble(peer, true)
  const there = await entered
  void there.ping() // which is never answered
  await heardOut(there)
  assert.ok(there.isOpen)
  clearInterval(timer)
  await peer.reset()
})

test('a client lets a busy server live that answers no ping', async () => {
  const raw = await RawServer.listen()
  const client = new WebsocketClient(KEEPALIVE)
  const opening = client.open(raw.url)
  const timer = babble(await raw.accept(), false)
  const here = await opening
  void here.ping() // which is never answered
  await heardOut(here)
  assert.ok(here.isOpen)
  clearInterval(timer)
  await raw.close()
})
