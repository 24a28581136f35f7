import assert from 'node:assert/strict'
import { Agent, createServer as createHttp } from 'node:http'
import { Agent as SecureAgent, createServer as createHttps } from 'node:https'
import { Duplex } from 'node:stream'
import { mock, suite, test } from 'node:test'
import { connect as connectTls } from 'node:tls'
import {
  once,
  WebsocketClient,
  WebsocketServer,
  type ConnectionOptions,
  type WebsocketConnection,
} from 'simplewebsockets'
import { certificate } from '../support/rawpeer.ts'

const PERIOD = 1_000
const LONG = 'x'.repeat(100_000)

/** One of two streams in memory: what is written to one is read from the other. */
class End extends Duplex {
  other: End | undefined
  #written: (() => void) | undefined

  override _read(): void {
    const written = this.#written
    this.#written = undefined
    written?.()
  }

  override _write(chunk: Buffer, _: string, written: () => void): void {
    this.other?.accept(chunk, written)
  }

  override _final(written: () => void): void {
    this.other?.push(null)
    written()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.other?.destroy()
    done(error)
  }

  accept(chunk: Buffer, written: () => void): void {
    if (this.push(chunk)) written()
    else this.#written = written
  }
}

function duplexPair(): [End, End] {
  const [one, other] = [new End(), new End()]
  one.other = other
  other.other = one
  return [one, other]
}

/** An agent that connects through a stream in memory, to an http server that listens nowhere. */
function memoryAgent(connected: (there: Duplex) => void, secure: boolean): Agent {
  const agent = secure ? new SecureAgent() : new Agent()
  return Object.assign(agent, {
    createConnection: () => {
      const [here, there] = duplexPair()
      connected(there)
      return secure ? connectTls({ socket: here, rejectUnauthorized: false }) : here
    },
  })
}

interface Scene extends AsyncDisposable {
  readonly server: WebsocketServer
  readonly there: WebsocketConnection
  readonly here: WebsocketConnection
}

async function open(options: ConnectionOptions, secure: boolean): Promise<Scene> {
  const http = secure ? createHttps(certificate()) : createHttp()
  const server = new WebsocketServer({ ...options, keepaliveTimeout: PERIOD }).attach(http)
  const agent = memoryAgent((there) => void http.emit('connection', there), secure)
  const client = new WebsocketClient({ ...options, agent, keepaliveTimeout: PERIOD })
  const entered = once(server, 'client')
  const here = await client.open(secure ? 'wss://localhost' : 'ws://localhost')
  return {
    server,
    there: await entered,
    here,
    [Symbol.asyncDispose]: async () => {
      await client.close()
      await server.close()
    },
  }
}

const cases: readonly [how: string, options: ConnectionOptions, secure: boolean][] = [
  ['plain', {}, false],
  ['compressed', { compression: true }, false],
  ['in fragments', { fragmentationThreshold: 1_000 }, false],
  ['useNagleAlgorithm', { useNagleAlgorithm: true }, false],
  ['compressed, useNagleAlgorithm', { compression: true, useNagleAlgorithm: true }, false],
  ['over TLS', {}, true],
]

for (const [how, options, secure] of cases) {
  suite(`over a stream that is no net.Socket, ${how}`, () => {
    test('keepalive never gives up a busy connection, nor a silent one that answers', async (t) => {
      t.mock.timers.enable({ apis: ['setInterval'] })
      await using scene = await open(options, secure)
      const { there, here } = scene
      const closed = mock.fn()
      for (const end of [there, here]) void once(end, 'close').then(closed)
      for (let count = 0; count < 10; count++) {
        if (count < 5) here.send('busy') // and afterwards only pings and pongs
        if (count < 5) assert.equal(await once(there, 'message'), 'busy')
        await Promise.all([here.ping('here'), there.ping('there')])
        t.mock.timers.tick(PERIOD)
        t.mock.timers.tick(PERIOD)
      }
      assert.equal(closed.mock.callCount(), 0)
      assert.ok(here.isOpen && there.isOpen)
    })

    test('what is received and sent is counted', async () => {
      await using scene = await open(options, secure)
      const { server, there, here } = scene
      here.send(LONG)
      assert.equal(await once(there, 'message'), LONG)
      there.send(LONG)
      assert.equal(await once(here, 'message'), LONG)
      const { bytesReceived, bytesSent } = server.stats()
      const least = options.compression ? 100 : LONG.length
      assert.ok(bytesReceived >= least, `received ${bytesReceived}`)
      assert.ok(bytesSent >= least, `sent ${bytesSent}`)
    })
  })
}
