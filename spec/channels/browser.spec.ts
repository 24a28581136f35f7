import assert from 'node:assert/strict'
import { suite, test, type TestContext } from 'node:test'
import type { Page } from 'playwright-core'
import { listen, once, WebsocketServer } from 'simplewebsockets'
import { ChannelServer, Presence } from 'simplewebsockets/channels'
import type * as floor from '../../lib/channels/browser.ts'
import type * as door from '../../lib/browser.ts'
import { deferred } from '../../lib/promises.ts'
import { openChromium } from '../support/chromium.ts'
import { bundled, serveScript, visit } from '../support/page.ts'

/** The exports of the package, as a page has them. */
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
  test('joins, pushes text and bytes, and knows the members that are here', async (t) => {
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

  for (const [when, event] of [
    ['when the network comes back', 'online'],
    ['when the page is shown', 'pageshow'],
    ['when the page becomes visible again', 'visibilitychange'],
  ] as const) {
    test(`asks the server at once whether it is there ${when}`, async (t) => {
      const { page } = (await open(t)) ?? {}
      if (!page) return
      const beats = await page.evaluate(async (type) => {
        const beating: string[] = []
        const client = new spec.ChannelClient({
          logger: (kind, text) => kind === 'push' && beating.push(text),
        })
        await client.open('/socket')
        const answered = spec.once(client, 'message')
        window.dispatchEvent(new Event(type))
        return [(await answered).kind, ...beating]
      }, event)
      assert.deepEqual(beats, ['heartbeatReply', 'heartbeat (1)'])
    })
  }

  test('stays connected in a hidden tab, whose timers come late, and beats after each answer', async (t) => {
    const { page } = (await open(t)) ?? {}
    if (!page) return
    const { kinds, closes } = await page.evaluate(async () => {
      // As a browser does it with tabs that are hidden: timers run once in a while, together.
      const WHILE = 800
      const soon = globalThis.setTimeout
      const late = (callback: () => void, delay = 0): unknown => {
        const due = performance.now() + delay
        return soon(callback, Math.ceil(due / WHILE) * WHILE - performance.now())
      }
      Object.assign(globalThis, { setTimeout: late })
      const client = new spec.ChannelClient({ heartbeat: 400 })
      await client.open('/socket')
      let ends = 0
      spec.listen(client, 'close', () => ends++)
      const heard: string[] = []
      for await (const { kind } of spec.listen(client, 'message')) {
        heard.push(kind)
        if (heard.length === 3) break
      }
      return { kinds: heard, closes: ends }
    })
    assert.deepEqual(kinds, Array<string>(3).fill('heartbeatReply'))
    assert.equal(closes, 0)
  })

  test('finds its server alive after the page was frozen', async (t) => {
    const { page, server } = (await open(t)) ?? {}
    if (!page || !server) return
    await page.evaluate(async () => {
      const client = new spec.ChannelClient({ heartbeat: 1_000 })
      await client.open('/socket')
      const room = client.channel('room:1', { name: 'ann' })
      await room.join()
      let ends = 0
      spec.listen(client, 'close', () => ends++)
      const state = { room, ends: () => ends }
      Object.assign(globalThis, { state })
    })
    const devtools = await page.context().newCDPSession(page)
    await devtools.send('Page.setWebLifecycleState', { state: 'frozen' })
    const [connection] = server.clients
    assert.ok(connection)
    // The browser answers pings, whatever its page does: until two heartbeats are due, and late.
    const thawed = performance.now() + 3_500
    while (performance.now() < thawed) await connection.ping()
    await devtools.send('Page.setWebLifecycleState', { state: 'active' })
    const seen = await page.evaluate(async () => {
      const { room, ends } = Reflect.get(globalThis, 'state') as {
        room: floor.Channel
        ends: () => number
      }
      return [await room.push('echo', { still: 'here' }), ends()]
    })
    assert.deepEqual(seen, [{ still: 'here' }, 0])
  })

  test('a bundle of client and presence has nothing of a server', async () => {
    const text = await bundled(`import { ChannelClient, Presence } from 'simplewebsockets/channels'
      globalThis.spoken = [ChannelClient, Presence]`)
    for (const word of ['ChannelServer', 'ServerChannel', 'WebsocketServer', 'Peer ', 'node:']) {
      assert.ok(!text.includes(`class ${word}`) && !text.includes(`"${word}`), word)
    }
  })
})
