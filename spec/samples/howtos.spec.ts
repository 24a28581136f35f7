import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once as onceEmitted } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer as createHttpServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import {
  listen,
  once,
  WebsocketClient,
  WebsocketServer,
  type WebsocketConnection,
} from 'simplewebsockets'
import { backplaneContract } from 'simplewebsockets/testing'
import { createServer } from 'vite'
import { openChromium, openPage } from '../support/chromium.ts'
import { bundled, serveScript, visit } from '../support/page.ts'
import { run } from './program.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

suite('the samples of the how-tos', { concurrency: 2, timeout: 180_000 }, () => {
  test('the first chat survives a restart of its server', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'talk-'))
    t.after(() => rm(folder, { recursive: true }))
    const TALK = join(folder, 'talk.txt')
    const server = run(t, 'start/server', { TALK })
    const PORT = String(await server.port())
    const ann = run(t, 'start/client', { NAME: 'ann', PORT })
    assert.equal(await ann.line(), 'connected')
    ann.say('good morning')
    assert.equal(await ann.line(), 'ann: good morning')

    server.stop()
    assert.deepEqual(await server.ended, { code: 0, errors: '' })
    const again = run(t, 'start/server', { TALK, PORT })
    assert.equal(String(await again.port()), PORT)
    let said = await ann.line()
    while (said !== 'connected') {
      assert.match(String(said), /^again in \d+ ms$|ECONNREFUSED/)
      said = await ann.line()
    }
    assert.equal(await ann.line(), 'ann: good morning')
    ann.say('still here')
    assert.equal(await ann.line(), 'ann: still here')
  })

  for (const framework of ['express', 'fastify', 'hono']) {
    test(`${framework} answers requests where the server takes upgrades`, async (t) => {
      const port = await run(t, `frameworks/${framework}`).port()
      const response = await fetch(`http://localhost:${port}/`)
      assert.match(await response.text(), new RegExp(`^hello from ${framework}$`, 'i'))
      const client = new WebsocketClient()
      t.after(() => client.close())
      const connection = await client.open(`ws://localhost:${port}/live`)
      assert.equal(await once(connection, 'message'), 'hello from the same port')
      await assert.rejects(new WebsocketClient().open(`ws://localhost:${port}/`), { status: 404 })
    })
  }

  test('a page of the dev server of Vite connects through its proxy, or with `origins`', async (t) => {
    const http = createHttpServer((request, response) => response.end(`at ${request.url}`))
    const server = new WebsocketServer().attach(http)
    t.after(() => server.close())
    t.after(() => http.close())
    listen(server, 'client', (client) => client.send('hello'))
    await onceEmitted(http.listen(0, 'localhost'), 'listening')
    const { port } = Object(http.address()) as { port: number }
    const target = `ws://localhost:${port}`
    const login = `http://localhost:${port}`
    const proxied = { '/live': { target }, '/login': login, '/token': login }
    // A string sets `changeOrigin`, too.
    const refused = { '/changed': { target, ws: true, changeOrigin: true }, '/string': target }
    const cacheDir = await mkdtemp(join(tmpdir(), 'vite-'))
    t.after(() => rm(cacheDir, { recursive: true }))
    const vite = await createServer({
      root: join(root, 'samples/frameworks'),
      configFile: join(root, 'samples/frameworks/vite.config.ts'),
      cacheDir,
      logLevel: 'silent',
      server: { port: 0, proxy: { ...proxied, ...refused } },
    })
    t.after(() => vite.close())
    await vite.listen()
    const { port: pagePort } = Object(vite.httpServer?.address()) as { port: number }
    const origin = `http://localhost:${pagePort}`
    const open = (of: number, path = '/live'): Promise<WebsocketConnection> => {
      const client = new WebsocketClient({ headers: { origin } })
      t.after(() => client.close())
      return client.open(`ws://localhost:${of}${path}`)
    }
    assert.equal(await once(await open(pagePort), 'message'), 'hello')
    for (const path of ['/login', '/token']) {
      assert.equal(await (await fetch(origin + path, { method: 'POST' })).text(), `at ${path}`)
    }

    const other = new WebsocketServer({ path: '/live', origins: [origin] })
    t.after(() => other.close())
    const { port: otherPort } = await other.serve(0)
    assert.ok((await open(otherPort)).isOpen)
    const printedCure = t.mock.method(console, 'error', () => {})
    await assert.rejects(open(port), { status: 403 })
    for (const path of Object.keys(refused)) {
      await assert.rejects(open(pagePort, path), { status: 403 })
    }
    assert.match(
      String(printedCure.mock.calls[0]?.arguments[0]),
      new RegExp(`origins: .*${origin}`),
    )
  })

  test('a page signs in, gets a token for each connection, and is signed out everywhere', async (t) => {
    const browser = await openChromium(t)
    if (!browser) return
    const server = run(t, 'sign-in/server', { LIFETIME: '2000' })
    const site = `http://localhost:${await server.port()}`
    const page = await openPage(browser, [])
    await page.goto(site)
    const log = page.locator('#log')
    await log.getByText(/^1006 sign in\n$/).waitFor() // no session: the client has stopped
    await page.getByRole('button', { name: 'Sign in' }).click()
    // The server closes each connection after 2 s, and the page comes back with a fresh token.
    await log.getByText(/^1006 sign in\n(hello ann\n){2,}$/).waitFor()
    const tab = await page.context().newPage()
    await tab.goto(site)
    await tab.locator('#log').getByText('hello ann').waitFor()
    await page.getByRole('button', { name: 'Sign out' }).click()
    // A tab that is between two connections finds its session ended.
    for (const each of [page, tab]) {
      await each
        .locator('#log')
        .getByText(/hello ann\n(1008 signed out|1006 sign in)\n$/)
        .waitFor()
    }
  })

  test('a page of a dev server is refused, and the server prints the cure of the docs', async (t) => {
    const server = run(t, 'sign-in/server')
    const url = `ws://localhost:${await server.port()}/live`
    const origin = 'http://localhost:5173'
    await assert.rejects(new WebsocketClient({ headers: { origin } }).open(url), { status: 403 })
    await assert.rejects(new WebsocketClient().open(url), { status: 401 })
    server.stop()
    const docs = await readFile(`${root}docs/how-to/authentication-in-pages.md`, 'utf8')
    const [, shown = ''] = /^```text\n(simplewebsockets: .*?)^```$/ms.exec(docs) ?? []
    assert.equal((await server.ended).errors, shown)
  })

  const printed: Record<string, readonly string[]> = {
    listen: ['heard hello', 'got hello', 'closed: 1000'],
    token: ['welcome with token-1', 'welcome with token-2', 'welcome with token-3'],
    rates: [
      'the server: more than 20 messages in 1000 ms',
      'the client: 1008 more than 20 messages in 1000 ms',
    ],
    'typed-messages': [
      "{ item: 'tea', total: 6 }",
      'ERR_MESSAGE_INVALID invalid message: count: Too small: expected number to be >0',
      '{',
      '  code: 1008,',
      "  description: 'invalid message: count: Too small: expected number to be >0'",
      '}',
    ],
    authorize: [
      'hello ann ',
      'hello ann chat',
      'ConnectError: the server answered 403 Forbidden',
      'ConnectError: the server answered 401 Unauthorized',
    ],
    msgpack: ['tea, doubled: 143 and 140, in 2026', '1007 could not decode the message'],
    'typed-request': ['100 of tea, 3 each'],
    reconnect: ['heard 1, after 0', 'heard 2, after 1', 'heard 3, after 2', 'replaced'],
    channels: [
      "{ history: [ 'it was quiet' ] }",
      'ann: hi',
      '{ id: 7 }',
      'room:1: left',
      'a join on `room:2` was answered `error`: {"reason":"no"}',
    ],
    contract: [
      'ann: hi',
      'ChannelError: `new_msg` on `room:1` was answered `error`: {"reason":"invalid payload",' +
        '"issues":[{"message":"Too small: expected string to have >=1 characters","path":["body"]}]}',
    ],
    presence: [
      'here: ',
      'ann came in',
      'here: ann',
      'bob came in',
      'here: ann, bob',
      'on this node: ann bob',
      'bob went',
      'here: ann',
    ],
    'replay/ours': ['heard 3 of 3', 'something may be missing', 'heard 4 of 105'],
    'replay/backlog': ['joined', 'two', 'three', 'four'],
  }
  for (const [name, lines] of Object.entries(printed)) {
    test(`the sample ${name} prints what it is about, and ends`, async (t) => {
      const program = run(t, name)
      for (const line of lines) assert.equal(await program.line(), line)
      assert.deepEqual(await program.ended, { code: 0, errors: '' })
    })
  }

  for (const [name, tests] of [
    ['testing', 3],
    ['backplanes/own', backplaneContract(() => assert.fail('nobody asks')).length],
  ] as const) {
    test(`the tests of the sample ${name} pass`, async () => {
      const options = ['--conditions=source', '--import', 'tsx', '--test', `samples/${name}.ts`]
      const env = { ...process.env, NODE_TEST_CONTEXT: undefined } // it would report to us
      const { stdout } = await promisify(execFile)(process.execPath, options, { cwd: root, env })
      assert.match(stdout, new RegExp(`pass ${tests}\n`))
    })
  }

  test('the hook of React hears, speaks, follows its url, and leaves with its component', async (t) => {
    const browser = await openChromium(t)
    if (!browser) return
    const script = await bundled(
      `import { createElement, useState } from 'react'
      import { createRoot } from 'react-dom/client'
      import { useMessages } from './samples/react/use-messages.ts'

      function Talk() {
        const [path, setPath] = useState('/red')
        const { messages, isOpen, send } = useMessages('ws://' + location.host + path)
        globalThis.go = setPath
        const say = () => send('hello from React')
        return createElement('button', { disabled: !isOpen, onClick: say }, messages.join())
      }
      addEventListener('load', () => {
        const root = createRoot(document.body)
        root.render(createElement(Talk))
        globalThis.leave = () => root.unmount()
      })`,
      { define: { 'process.env.NODE_ENV': '"production"' } },
    )
    const { http, port } = await serveScript(t, script)
    const server = new WebsocketServer().attach(http)
    t.after(() => server.close())
    const entered = once(server, 'client')
    const complaints: string[] = []
    const page = await visit(browser, port, complaints)
    const red = await entered
    listen(red, 'message', (message) => red.send(`you said ${message}`))
    await page.click('button:enabled')
    await page.waitForSelector('text=you said hello from React')
    for (let count = 1; count <= 150; count++) red.send(`no ${count}`)
    await page.waitForSelector('text=/^no 51,.*,no 150$/')

    const enteredNext = once(server, 'client')
    const left = once(red, 'close')
    await page.evaluate('go("/green")')
    const green = await enteredNext
    assert.equal(green.request.path, '/green')
    assert.equal((await left).code, 1000)
    green.send('welcome')
    await page.waitForSelector('text=/^welcome$/')
    await page.waitForSelector('button:enabled')

    const closed = once(green, 'close')
    await page.evaluate('leave()')
    assert.equal((await closed).code, 1000)
    assert.deepEqual(complaints, [])
  })
})
