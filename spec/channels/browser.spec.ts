import assert from 'node:assert/strict'
import { suite, test, type TestContext } from 'node:test'
import type { Page } from 'playwright-core'
import { listen, once, WebsocketServer } from 'simplewebsockets'
import { ChannelServer, Presence } from 'simplewebsockets/channels'
import type * as floor from '../../lib/channels/browser.ts'
import type * as door from '../../lib/browser.ts'
import { deferred } from '../../lib/promises.ts'
import { openChromium } from '../chromium.ts'
import { bundled, serveScript, visit } from '../page.ts'

/** What a page has of the package. */
declare const spec: typeof door & typeof floor
declare const window: EventTarget

const PROGRAM = `export * from 'simplewebsockets'
  export * from 'simplewebsockets/channels'`

interface Scene {
  readonly page: Page
  readonly server: WebsocketServer
  /** Settles when something was echoed. */
  readonly echoed: Promise<void>
  readonly complaints: string[]
}

/** A page with both floors, and a server of channels beside it; nothing where there is no browser. */
async function open(t: TestContext): Promise<Scene | undefined> {
  const browser = await openChromium(t)
  if (!browser) return undefined
  const { http, port } = await serveScript(t, await bundled(PROGRAM))
  const server = new WebsocketServer({ path: '/socket' })
  const channels = new ChannelServer(server)
  const rooms = channels.topic('room:*')
  const presence = new Presence(rooms)
  const echoed = deferred<void>()
  listen(rooms, 'join', ({ channel, payload, accept }) => {
    presence.track(channel, String(payload.name), { at: 'page' })
    listen(channel.messages, 'echo', ({ payload: said, reply }) => {
      reply(said)
      echoed.resolve()
    })
    accept({ hello: payload.name })
  })
  server.attach(http)
  t.after(() => server.close())
  const complaints: string[] = []
  const page = await visit(browser, port, complaints)
  return { page, server, echoed: echoed.promise, complaints }
}

suite('a channel client in a browser', () => {
  test('joins, pushes text and bytes, and knows who is here', async (t) => {
    const { page, complaints } = (await open(t)) ?? {}
    if (!page) return
    const seen = await page.evaluate(async () => {
      const client = new spec.ChannelClient({ authToken: 'secret', params: { a: [1] } })
      await client.open('/socket') // as of the page
      const room = client.channel('room:1', { name: 'ann' })
      const who = new spec.Presence(room)
      const hello = await room.join()
      while (who.get('ann').length === 0) await spec.once(who, 'sync')
      const text = await room.push('echo', { a: 'grüße' })
      const bytes = await room.push('echo', Uint8Array.of(1, 2, 255))
      const keys = [...who].map(([key]) => key)
      await room.leave()
      await client.close()
      return { hello, text, bytes: [...(bytes as Uint8Array)], keys, state: room.state }
    })
    assert.deepEqual(seen, {
      hello: { hello: 'ann' },
      text: { a: 'grüße' },
      bytes: [1, 2, 255],
      keys: ['ann'],
      state: 'closed',
    })
    assert.deepEqual(complaints, [])
  })

  test('joins again after the server has closed the connection, with 1000 even', async (t) => {
    const { page, server, echoed } = (await open(t)) ?? {}
    if (!page || !server) return
    const first = once(server, 'client')
    const joins = page.evaluate(async () => {
      const client = new spec.ChannelClient()
      await client.open('/socket')
      const room = client.channel('room:1', { name: 'ann' })
      await room.join()
      const again = spec.once(room, 'join')
      await room.push('echo', {})
      return again
    })
    const connection = await first
    await echoed
    await connection.close(1000)
    assert.deepEqual(await joins, { hello: 'ann' })
  })

  test('asks the server at once whether it is there when the network comes back', async (t) => {
    const { page } = (await open(t)) ?? {}
    if (!page) return
    const beats = await page.evaluate(async () => {
      const beating: string[] = []
      const client = new spec.ChannelClient({
        logger: (kind, text) => kind === 'push' && beating.push(text),
      })
      await client.open('/socket')
      const answered = spec.once(client, 'message')
      window.dispatchEvent(new Event('online'))
      return [(await answered).kind, ...beating]
    })
    assert.deepEqual(beats, ['heartbeatReply', 'heartbeat (1)'])
  })

  test('a bundle of client and presence has nothing of a server', async () => {
    const text = await bundled(`import { ChannelClient, Presence } from 'simplewebsockets/channels'
      globalThis.spoken = [ChannelClient, Presence]`)
    for (const word of ['ChannelServer', 'ServerChannel', 'WebsocketServer', 'Peer ', 'node:']) {
      assert.ok(!text.includes(`class ${word}`) && !text.includes(`"${word}`), word)
    }
  })
})
