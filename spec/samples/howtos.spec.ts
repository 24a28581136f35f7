import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { listen, once, WebsocketClient, WebsocketServer } from 'simplewebsockets'
import { backplaneContract } from 'simplewebsockets/testing'
import { openChromium } from '../support/chromium.ts'
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
    assert.equal(await ann.line(), 'here we are')
    ann.say('good morning')
    assert.equal(await ann.line(), 'ann: good morning')

    server.stop()
    assert.deepEqual(await server.ended, { code: 0, errors: '' })
    const again = run(t, 'start/server', { TALK, PORT })
    assert.equal(String(await again.port()), PORT)
    let said = await ann.line()
    while (said !== 'here we are') {
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

  const printed: Record<string, readonly string[]> = {
    listen: ['heard hello', 'got hello', 'closed: 1000'],
    token: ['welcome with token-1', 'welcome with token-2', 'welcome with token-3'],
    rates: [
      'the server: more than 20 messages in 1000 ms',
      'the client: 1008 more than 20 messages in 1000 ms',
    ],
    validate: [
      '2 of tea',
      'refused: Invalid input: expected number, received undefined',
      'refused: not JSON',
    ],
    authorize: [
      'hello ann ',
      'hello ann chat',
      'ConnectError: the server answered 403 Forbidden',
      'ConnectError: the server answered 401 Unauthorized',
    ],
    reconnect: ['heard 1, after 0', 'heard 2, after 1', 'heard 3, after 2', 'signed out'],
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

  test('the hook of React hears, speaks, and leaves with its component', async (t) => {
    const browser = await openChromium(t)
    if (!browser) return
    const script = await bundled(
      `import { createElement } from 'react'
      import { createRoot } from 'react-dom/client'
      import { useMessages } from './samples/react/use-messages.ts'

      function Talk() {
        const { messages, isOpen, send } = useMessages('ws://' + location.host)
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
    const client = await entered
    listen(client, 'message', (message) => client.send(`you said ${message}`))
    await page.click('button:enabled')
    await page.waitForSelector('text=you said hello from React')
    const closed = once(client, 'close')
    await page.evaluate('leave()')
    assert.equal((await closed).code, 1000)
    assert.deepEqual(complaints, [])
  })
})
