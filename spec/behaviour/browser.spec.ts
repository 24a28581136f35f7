import assert from 'node:assert/strict'
import { suite, test, type TestContext } from 'node:test'
import type { Page } from 'playwright-core'
import { listen, once, WebsocketServer, type ServerOptions } from 'simplewebsockets'
import type * as door from '../../lib/browser.ts'
import { openChromium } from '../support/chromium.ts'
import { bundled, serveScript, visit } from '../support/page.ts'

/** The exports of the package, as a page has them. */
declare const spec: typeof door

// The rest of what a page has: Node's types know nothing of it.
declare const document: EventTarget
declare const location: { readonly origin: string }
declare const localStorage: { debug?: string }
declare class Worker extends EventTarget {
  constructor(url: string)
  onmessage: ((event: { readonly data: unknown }) => void) | null
}

interface Scene {
  readonly page: Page
  readonly server: WebsocketServer
  readonly url: string
  readonly complaints: string[]
}

const PROGRAM = `export * from 'simplewebsockets'`

/** A page with the package, and a server beside it; nothing where there is no browser. */
async function open(t: TestContext, options?: ServerOptions): Promise<Scene | undefined> {
  const browser = await openChromium(t)
  if (!browser) return undefined
  const { http, port } = await serveScript(t, await bundled(PROGRAM))
  const server = new WebsocketServer({ ...options }).attach(http)
  t.after(() => server.close())
  const complaints: string[] = []
  const page = await visit(browser, port, complaints)
  return { page, server, url: `ws://localhost:${port}/`, complaints }
}

suite('a client in a browser', () => {
  test('sends and receives text as strings and binary as bytes, never a Blob', async (t) => {
    const { page, server, url, complaints } = (await open(t)) ?? {}
    if (!page || !server) return
    listen(server, 'client', (client) => {
      listen(client, 'message', (message) => client.send(message))
    })
    const heard = await page.evaluate(async (address) => {
      const connection = await new spec.WebsocketClient().open(address)
      connection.send('grüße 😀')
      connection.send(Uint8Array.of(0, 1, 255))
      connection.send(42)
      const messages: unknown[] = []
      for await (const message of spec.listen(connection, 'message')) {
        messages.push(typeof message === 'string' ? message : [...message])
        if (messages.length === 3) break
      }
      connection.close()
      return messages
    }, String(url))
    assert.deepEqual(heard, ['grüße 😀', [0, 1, 255], '42'])
    assert.deepEqual(complaints, [])
  })

  test('sends the bytes of any buffer and view, which may be changed at once', async (t) => {
    const { page, server, url } = (await open(t)) ?? {}
    if (!page || !server) return
    const entered = once(server, 'client')
    const sent = page.evaluate(async (address) => {
      const connection = await new spec.WebsocketClient().open(address)
      const bytes = Uint8Array.of(1, 2, 3, 4)
      const shared = new Uint8Array(new SharedArrayBuffer(4))
      shared.set(bytes)
      const views = [bytes, bytes.buffer, new DataView(bytes.buffer), shared, shared.buffer]
      for (const view of views) connection.send(view)
      for (const each of [bytes, shared]) each.fill(9)
    }, String(url))
    const there = await entered
    for (let count = 0; count < 5; count++) {
      assert.deepEqual(await once(there, 'message'), Uint8Array.of(1, 2, 3, 4))
    }
    await sent
  })

  test('holds messages for a late listener, gives them one at a time, in order', async (t) => {
    const { page, server, url } = (await open(t)) ?? {}
    if (!page || !server) return
    listen(server, 'client', (client) => {
      for (let count = 1; count <= 100; count++) client.send(count)
      client.close(4001, 'that was all')
    })
    const heard = await page.evaluate(async (address) => {
      const connection = await new spec.WebsocketClient().open(address)
      const first = await spec.once(connection, 'message')
      const second = await spec.once(connection, 'message')
      let busy = 0
      let most = 0
      const rest: unknown[] = []
      spec.listen(connection, 'message', async (message) => {
        most = Math.max(most, ++busy)
        await Promise.resolve()
        busy--
        rest.push(message)
      })
      const reason = await spec.once(connection, 'close')
      return { first, second, most, rest: rest.length, last: rest.at(-1), reason }
    }, String(url))
    assert.deepEqual(heard, {
      first: '1',
      second: '2',
      most: 1,
      rest: 98,
      last: '100',
      reason: { code: 4001, description: 'that was all' },
    })
  })

  for (const [code, wired] of [
    [1000, 1000],
    [3000, 3000],
    [4999, 4999],
    [1001, 1005],
    [1008, 1005],
    [1011, 1005],
  ] as const) {
    test(`closing with ${code} says so here, and ${wired} to the server`, async (t) => {
      const { page, server, url } = (await open(t)) ?? {}
      if (!page || !server) return
      const there = once(server, 'client').then((client) => once(client, 'close'))
      const here = await page.evaluate(
        async ([address, wanted]) => {
          const client = new spec.WebsocketClient()
          const connection = await client.open(address)
          return connection.close(wanted, 'enough of this')
        },
        [String(url), code] as const,
      )
      assert.deepEqual(here, { code, description: 'enough of this' })
      const { code: heard, description } = await there
      assert.equal(heard, wired)
      if (wired !== 1005) assert.equal(description, 'enough of this')
    })
  }

  test('terminating ends with 1006 here at once, and with 1005 for the server', async (t) => {
    const { page, server, url } = (await open(t)) ?? {}
    if (!page || !server) return
    const there = once(server, 'client').then((client) => once(client, 'close'))
    const here = await page.evaluate(async (address) => {
      const client = new spec.WebsocketClient()
      const connection = await client.open(address)
      connection.terminate()
      return { isOpen: connection.isOpen, code: (await spec.once(connection, 'close')).code }
    }, String(url))
    assert.deepEqual(here, { isOpen: false, code: 1006 })
    assert.equal((await there).code, 1005)
  })

  test('a server that closes is heard with its code and text', async (t) => {
    const { page, server, url } = (await open(t)) ?? {}
    if (!page || !server) return
    listen(server, 'client', (client) => void client.close(1013, 'later'))
    const reasons = await page.evaluate(async (address) => {
      const client = new spec.WebsocketClient()
      const closed = spec.once(client, 'closed')
      const connection = await client.open(address)
      return [await spec.once(connection, 'close'), await closed, connection.isOpen]
    }, String(url))
    assert.deepEqual(reasons, [
      { code: 1013, description: 'later' },
      { code: 1013, description: 'later' },
      false,
    ])
  })

  test('a message too big, and too many for a slow listener, close with the true code', async (t) => {
    const { page, server, url } = (await open(t)) ?? {}
    if (!page || !server) return
    listen(server, 'client', (client) => {
      const size = client.request.path === '/big' ? 1_001 : 100
      for (let count = 0; count < 20; count++) client.send('x'.repeat(size))
    })
    const codes = await page.evaluate(async (address) => {
      const found: unknown[] = []
      for (const path of ['big', 'many']) {
        const client = new spec.WebsocketClient({
          maxReceivedMessageSize: 1_000,
          maxWaitingBytes: 1_000,
        })
        const connection = await client.open(address + path)
        spec.listen(connection, 'message', () => new Promise(() => undefined))
        const error = await spec.once(connection, 'error')
        const closeCode = 'closeCode' in error && error.closeCode
        found.push([closeCode, error.code, error.message, connection.isOpen])
        found.push((await spec.once(client, 'closed')).code)
      }
      return found
    }, String(url))
    assert.deepEqual(codes, [
      [1009, 'ERR_MESSAGE_TOO_BIG', 'Maximum message size of 1000 Bytes exceeded', false],
      1009,
      [1008, 'ERR_SLOW_LISTENER', 'more than 1000 bytes wait for a slow listener', false],
      1008,
    ])
  })

  test('a connection that is refused, or that no server answers, is a ConnectError', async (t) => {
    const { page, url } = (await open(t, { path: '/only', authorize: () => false })) ?? {}
    if (!page) return
    const errors = await page.evaluate(
      async (addresses) => {
        const found: unknown[] = []
        for (const address of addresses) {
          const client = new spec.WebsocketClient()
          const heard: string[] = []
          spec.listen(client, 'connectError', ({ message }) => heard.push(message))
          const closed = spec.once(client, 'closed')
          const error: unknown = await client.open(address).catch((cause: unknown) => cause)
          found.push([
            error instanceof spec.ConnectError && error.message === heard[0] && error.message,
            (await closed).code,
          ])
        }
        return found
      },
      [`${url}only`, 'ws://localhost:1/'],
    )
    const { origin } = new URL(String(url))
    assert.deepEqual(errors, [
      [`could not connect to ${origin}: a browser doesn't tell why`, 1006],
      [`could not connect to ws://localhost:1: a browser doesn't tell why`, 1006],
    ])
  })

  test('what a browser cannot do throws, with what to do instead', async (t) => {
    const { page, url } = (await open(t)) ?? {}
    if (!page) return
    const texts = await page.evaluate(async (address) => {
      const message = (run: () => unknown): string => {
        try {
          run()
          return 'nothing'
        } catch (error) {
          return String(error)
        }
      }
      const connection = await new spec.WebsocketClient().open(address)
      return [
        message(() => new spec.WebsocketClient({ headers: { a: 'b' } })),
        message(() => connection.ping()),
        message(() => spec.listen(connection, 'messgae' as 'message', () => undefined)),
      ]
    }, String(url))
    assert.match(
      String(texts[0]),
      /TypeError: .*`headers`.*: send a subprotocol or a cookie instead/,
    )
    assert.match(String(texts[1]), /a browser cannot ping/)
    assert.match(String(texts[2]), /did you mean `message`/)
  })

  test('offers subprotocols, and knows the one chosen', async (t) => {
    const { page, url } = (await open(t, { protocols: ['chat.v2'] })) ?? {}
    if (!page) return
    const protocol = await page.evaluate(async (address) => {
      const client = new spec.WebsocketClient({ protocols: ['chat.v1', 'chat.v2'] })
      return (await client.open(address)).protocol
    }, String(url))
    assert.equal(protocol, 'chat.v2')
  })

  test('is told to wait when much is sent, and of the drain', async (t) => {
    const { page, server, url } = (await open(t, { maxReceivedMessageSize: 64 << 20 })) ?? {}
    if (!page || !server) return
    const received = once(server, 'client').then((client) => once(client, 'message'))
    const seen = await page.evaluate(async (address) => {
      const connection = await new spec.WebsocketClient().open(address)
      const more = connection.send(new Uint8Array(8 << 20))
      const waiting = connection.bufferedAmount
      await spec.once(connection, 'drain')
      return { more, waiting: waiting >= 8 << 20, left: connection.bufferedAmount }
    }, String(url))
    assert.deepEqual(seen, { more: false, waiting: true, left: 0 })
    assert.equal((await received).length, 8 << 20)
  })

  test('closes with 1011 when a listener fails and there is no `error` listener', async (t) => {
    const { page, server, url, complaints } = (await open(t)) ?? {}
    if (!page || !server) return
    listen(server, 'client', (client) => client.send('hello'))
    const code = await page.evaluate(async (address) => {
      const connection = await new spec.WebsocketClient().open(address)
      spec.listen(connection, 'message', () => {
        throw new Error('mine')
      })
      return (await spec.once(connection, 'close')).code
    }, String(url))
    assert.equal(code, 1011)
    assert.match(String(complaints), /mine/)
  })

  test('runs in a worker as in a page', async (t) => {
    const { page, server, url } = (await open(t)) ?? {}
    if (!page || !server) return
    listen(server, 'client', (client) => {
      listen(client, 'message', (message) => client.send(message))
    })
    const heard = await page.evaluate(
      (address) =>
        new Promise((resolve) => {
          const program = `importScripts('${location.origin}/script.js')
            new spec.WebsocketClient({ reconnect: true }).open('${address}').then(async (connection) => {
              connection.send('from a worker')
              postMessage([await spec.once(connection, 'message'), typeof document])
            })`
          const worker = new Worker(URL.createObjectURL(new Blob([program])))
          worker.onmessage = ({ data }) => resolve(data)
        }),
      String(url),
    )
    assert.deepEqual(heard, ['from a worker', 'undefined'])
  })

  test('has ids in a page that came without TLS, where there is no randomUUID', async (t) => {
    const { page, url } = (await open(t)) ?? {}
    if (!page) return
    const ids = await page.evaluate(async (address) => {
      Object.defineProperty(crypto, 'randomUUID', { value: undefined })
      const open = (): Promise<door.WebsocketConnection> => new spec.WebsocketClient().open(address)
      return [(await open()).id, (await open()).id]
    }, String(url))
    assert.match(String(ids[0]), /^[\da-f]{32}$/)
    assert.notEqual(ids[0], ids[1])
  })
})

suite('a client in a browser that reconnects', () => {
  for (const wake of ['online', 'pageshow', 'visibilitychange']) {
    test(`tries at once on ${wake}, however long it was to wait`, async (t) => {
      const { page, server, url } = (await open(t)) ?? {}
      if (!page || !server) return
      listen(server, 'client', (client) => client.close(1012, 'restart'), { once: true })
      const connects = await page.evaluate(
        async ([address, event]) => {
          const client = new spec.WebsocketClient({ reconnect: { delay: () => 3_600_000 } })
          await client.open(address)
          await spec.once(client, 'retry')
          const again = spec.once(client, 'connect')
          setTimeout(() => {
            const target =
              event === 'visibilitychange' ? document : (globalThis as unknown as EventTarget)
            target.dispatchEvent(new Event(event, { bubbles: true }))
          })
          return (await again).isOpen
        },
        [String(url), wake] as const,
      )
      assert.equal(connects, true)
    })
  }

  test('a network that comes back brings it back', async (t) => {
    const { page, server, url } = (await open(t)) ?? {}
    if (!page || !server) return
    const first = once(server, 'client')
    const opened = page.evaluate(async (address) => {
      const client = new spec.WebsocketClient({ reconnect: { delay: () => 3_600_000 } })
      Object.assign(globalThis, { client })
      await client.open(address)
    }, String(url))
    const client = await first
    await opened
    const waits = page.evaluate(async () => {
      const { client: mine } = globalThis as unknown as { client: door.WebsocketClient }
      const { attempt, cause } = await spec.once(mine, 'retry')
      return { attempt, cause }
    })
    await page.context().setOffline(true)
    void client.close(1012, 'restart')
    assert.equal((await waits).attempt, 1)
    const again = once(server, 'client')
    await page.context().setOffline(false)
    assert.equal((await again).isOpen, true)
  })
})

suite('the bundle', () => {
  test('is imported where there are no dispose symbols yet', async (t) => {
    const browser = await openChromium(t)
    if (!browser) return
    const define = { 'Symbol.dispose': 'undefined', 'Symbol.asyncDispose': 'undefined' }
    const { http, port } = await serveScript(t, await bundled(PROGRAM, { define }))
    const server = new WebsocketServer().attach(http)
    t.after(() => server.close())
    listen(server, 'client', (client) => client.send('hello'))
    const complaints: string[] = []
    const page = await visit(browser, port, complaints)
    const heard = await page.evaluate(async (address) => {
      const connection = await new spec.WebsocketClient().open(address)
      return new Promise((resolve) => spec.listen(connection, 'message', resolve, { once: true }))
    }, `ws://localhost:${port}/`)
    assert.equal(heard, 'hello')
    assert.deepEqual(complaints, [])
  })

  test('says what happens where localStorage.debug asks for it, and otherwise nothing', async (t) => {
    const { page, url } = (await open(t)) ?? {}
    if (!page) return
    const said: string[] = []
    page.on('console', (message) => said.push(message.text()))
    const open_ = (address: string): Promise<unknown> =>
      new spec.WebsocketClient().open(address).then((connection) => connection.close())
    await page.evaluate(open_, String(url))
    assert.deepEqual(said, [])
    await page.evaluate(() => Object.assign(localStorage, { debug: 'simplewebsockets*' }))
    await page.reload()
    await page.evaluate(open_, String(url))
    assert.deepEqual(said, [
      // The console fills in what stands behind it.
      `simplewebsockets:client connected to %s ${new URL(String(url)).host}`,
      'simplewebsockets:client closed: %d %s 1000 Normal connection closure',
    ])
  })
})
