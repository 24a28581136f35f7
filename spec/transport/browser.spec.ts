import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import { test } from 'node:test'
import { resolveServer } from '../../lib/options/server.ts'
import type { TransportReceiver, Transport } from '../../lib/transport/transport.ts'
import { makeUpgrader } from '../../lib/transport/tcp/upgrade.ts'
import { openChromium } from '../support/chromium.ts'
import { bundled, serveScript, visit } from '../support/page.ts'
import type * as inpage from '../support/transport/inpage.ts'
import type { Heard, Order } from '../support/transport/inpage.ts'

/** The exports of the page's script, as a page sees them. */
declare const spec: typeof inpage

/** Serves transports that are told what to do by the socket beside them. */
function serveTransports(http: Server): void {
  const upgrade = makeUpgrader(resolveServer())
  const controls = new Map<string, Transport>()
  const ends = new Map<string, Transport>()
  http.on('upgrade', (request: IncomingMessage, tcp: Duplex, head: Buffer) => {
    const transport = upgrade(request, tcp, head)
    const control = controls.get(request.url ?? '')
    if (control) {
      ends.set(request.url ?? '', transport)
      transport.start(teller(transport, control))
      return
    }
    const name = randomUUID()
    controls.set(`/${name}`, transport)
    transport.start({
      ...teller(transport, undefined),
      onMessage: (text) => {
        const end = ends.get(`/${name}`)
        if (end) obey(end, JSON.parse(String(text)) as Order)
      },
    })
    transport.send(name)
  })
}

/** Makes a receiver that tells a control, if there is one, of everything. */
function teller(transport: Transport, control: Transport | undefined): TransportReceiver {
  const tell =
    (event: keyof TransportReceiver) =>
    (...values: unknown[]): void => {
      const { bufferedAmount, bytesReceived } = transport
      const sent = values.map((value) => (value instanceof Uint8Array ? [...value] : value))
      const heard: Heard = { event, values: sent, bufferedAmount, bytesReceived }
      control?.send(JSON.stringify(heard))
    }
  return {
    onMessage: tell('onMessage'),
    onPing: tell('onPing'),
    onPong: tell('onPong'),
    onFlushed: tell('onFlushed'),
    onPeerClose: tell('onPeerClose'),
    onInvalid: tell('onInvalid'),
    onClosed: tell('onClosed'),
  }
}

function obey(end: Transport, { verb, value }: Order): void {
  const data = Array.isArray(value) ? Uint8Array.from(value as number[]) : value
  if (verb === 'send') end.send(data as string | Uint8Array)
  else if (verb === 'ping') end.ping(data as Uint8Array)
  else if (verb === 'close') end.close(value as { code: number; description: string })
  else end[verb]()
}

/** The cases that a browser can't run, or not with a peer that is far away, by name. */
const leftOut = {
  first: [
    'carries a ping behind the messages before it',
    'answers pings by itself',
    'sends no ping after its close frame',
    'lets both ends close at once',
    'ends both ends at once when it is cut',
  ],
  second: [
    'carries a ping behind the messages before it',
    'pauses, and goes on where it was',
    'lets both ends close at once',
  ],
}

for (const [place, names] of Object.entries(leftOut)) {
  test(`a browser's transport, as the ${place} end, keeps the contract of all transports`, async (t) => {
    const browser = await openChromium(t)
    if (!browser) return
    const script = await bundled(`export * from './spec/support/transport/inpage.ts'`)
    const { http, port } = await serveScript(t, script)
    serveTransports(http)
    const page = await visit(browser, port, [])
    const pageFirst = place === 'first'
    assert.deepEqual(await page.evaluate((first) => spec.leftOut(first), pageFirst), names)
    for (const { name, error } of await page.evaluate((first) => spec.runAll(first), pageFirst)) {
      await t.test(name, () => assert.equal(error, undefined))
    }
  })
}
