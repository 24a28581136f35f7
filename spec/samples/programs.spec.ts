import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import {
  ConnectError,
  listen,
  once,
  WebsocketClient,
  WebsocketServer,
  type CloseReason,
  type WebsocketConnection,
} from 'simplewebsockets'
import { run } from './program.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

async function enter(t: TestContext, url: string): Promise<WebsocketConnection> {
  const client = new WebsocketClient()
  t.after(() => client.close())
  return client.open(url)
}

/** Resolves with the next message; each call waits for one. */
function hears(connection: WebsocketConnection): Promise<string> {
  return once(connection, 'message').then(String)
}

/** Nothing else has come: a ping's answer is the next thing. */
async function hearsNothing(connection: WebsocketConnection): Promise<void> {
  const heard: unknown[] = []
  const unlisten = listen(connection, 'message', (message) => heard.push(message))
  await connection.ping()
  unlisten()
  assert.deepEqual(heard, [])
}

suite('the samples', { concurrency: 2, timeout: 60_000 }, () => {
  test('the echo client gets ten replies of the echo server, and closes', async (t) => {
    const server = run(t, 'echo-server')
    const client = run(t, 'echo-client', { PORT: String(await server.port()) })
    for (let count = 1; count <= 10; count++) {
      assert.equal(await client.line(), `Echo: hello ${count}`)
    }
    assert.deepEqual(await client.ended, { code: 0, errors: '' })
    assert.equal(await server.line(), 'closed: 1000 Normal connection closure')
  })

  test('the echo server and the echo client print why they could not start', async (t) => {
    const taken = new WebsocketServer()
    const { port } = await taken.serve(0)
    const server = await run(t, 'echo-server', { PORT: String(port) }).ended
    assert.match(server.errors, /ConnectError: .*EADDRINUSE/)
    await taken.close()
    const client = await run(t, 'echo-client', { PORT: String(port) }).ended
    assert.match(client.errors, /ConnectError: .*ECONNREFUSED/)
  })

  test('the bot subscribes, tells the time, and goes when its server tells it to', async (t) => {
    const server = new WebsocketServer({ path: '/feed' })
    const { port } = await server.serve(0)
    t.after(() => server.close())
    const entered = once(server, 'client')
    const bot = run(t, 'bot', { PORT: String(port) })
    const connection = await entered
    assert.equal(await hears(connection), 'subscribe:prices')
    connection.send('gold 4,000')
    assert.equal(await bot.line(), 'heard gold 4,000')
    connection.send('time?')
    assert.match(await hears(connection), /^\d{4}-\d\d-\d\dT[\d:.]+Z$/)
    connection.close()
    assert.equal(await bot.line(), 'the bot was stopped, or told to go')
    assert.deepEqual(await bot.ended, { code: 0, errors: '' })
  })

  test('the request sample gets each question its own reply', async (t) => {
    const program = run(t, 'request')
    assert.equal(await program.line(), "[ 'RED', 'GREEN' ]")
    assert.deepEqual(await program.ended, { code: 0, errors: '' })
  })

  test('the trading bot awaits the reply to its order while prices go on', async (t) => {
    const server = new WebsocketServer({ path: '/market' })
    const { port } = await server.serve(0)
    t.after(() => server.close())
    const entered = once(server, 'client')
    const bot = run(t, 'trading-bot', { PORT: String(port) })
    const connection = await entered
    assert.equal(await hears(connection), '{"subscribe":"prices"}')
    const quote = (price: number): boolean =>
      connection.send(JSON.stringify({ symbol: 'TEA', price }))
    for (const price of [120, 99]) quote(price)
    assert.equal(await hears(connection), '{"order":1,"buy":"TEA"}')
    for (let count = 0; count < 50; count++) quote(110) // more than wait before reading pauses
    connection.send('{"order":1,"state":"done"}')
    assert.equal(await bot.line(), 'ordered TEA at 99: {"order":1,"state":"done"}')
    bot.stop()
    assert.deepEqual(await bot.ended, { code: 0, errors: '' })
  })

  test('the challenge keeps those out who have not said the secret', async (t) => {
    const url = `ws://localhost:${await run(t, 'challenge', { SECRET: 'open' }).port()}`
    const [one, two, three] = [await enter(t, url), await enter(t, url), await enter(t, url)]
    for (const each of [one, two, three]) assert.equal(await hears(each), 'what is the secret?')
    one.send('open')
    assert.equal(await hears(one), 'welcome')
    two.send('open')
    assert.equal(await hears(two), 'welcome')
    assert.equal(await hears(one), 'another client came in')
    two.send('we are among ourselves')
    assert.equal(await hears(one), 'we are among ourselves')
    await hearsNothing(three)
    await hearsNothing(two)
    const closed = once(three, 'close')
    three.send('sesame')
    assert.deepEqual(await closed, { code: 1008, description: 'that is not the secret' })
  })

  test('the challenge has no patience with who says nothing', async (t) => {
    const url = `ws://localhost:${await run(t, 'challenge', { PATIENCE: '50' }).port()}`
    const reason: CloseReason = { code: 1008, description: 'that is not the secret' }
    assert.deepEqual(await once(await enter(t, url), 'close'), reason)
  })

  test('the chat of channels brings what a member says to the others', async (t) => {
    const program = run(t, 'channels-chat/server')
    const url = `ws://localhost:${await program.port()}/socket/websocket?vsn=2.0.0`
    const [ann, bob] = [await enter(t, url), await enter(t, url)]
    ann.send('["1","1","room:1","phx_join",{}]')
    assert.match(await hears(ann), /"status":"error","response":{"reason":"who are you\?"}/)
    ann.send('["2","2","room:1","phx_join",{"name":"ann"}]')
    assert.match(await hears(ann), /"status":"ok","response":{}/)
    assert.equal(await hears(ann), '["2",null,"room:1","presence_state",{}]')
    assert.match(await hears(ann), /"presence_diff",{"joins":{"ann":{.*},"leaves":{}}\]$/)
    bob.send('["2","2","room:1","phx_join",{"name":"bob"}]')
    assert.match(await hears(bob), /"status":"ok","response":{}/)
    assert.match(await hears(bob), /"presence_state",{"ann":{"metas":\[{"since":\d+,/)
    assert.match(await hears(bob), /"presence_diff",{"joins":{"bob":/)
    assert.match(await hears(ann), /"presence_diff",{"joins":{"bob":/)
    ann.send('["2","3","room:1","new_msg",{"body":"hi"}]')
    assert.match(await hears(ann), /"status":"ok"/)
    assert.equal(await hears(bob), '[null,null,"room:1","new_msg",{"name":"ann","body":"hi"}]')
    await bob.close()
    assert.match(await hears(ann), /"presence_diff",{"joins":{},"leaves":{"bob":/)
    assert.equal(await program.line(), 'room:1: closed')
  })

  test('the bot of channels greets, tells presence, and comes back after a restart', async (t) => {
    const chat = run(t, 'channels-chat/server')
    const port = String(await chat.port())
    const bot = run(t, 'channels-bot', { PORT: port })
    assert.equal(await bot.line(), 'joined the lobby')
    const url = `ws://localhost:${port}/socket/websocket?vsn=2.0.0`
    const ann = await enter(t, url)
    ann.send('["1","1","room:lobby","phx_join",{"name":"ann"}]')
    assert.equal(await bot.line(), 'ann is here')
    const told = async (): Promise<string> => {
      for await (const message of listen(ann, 'message')) {
        const [, , , event, payload] = JSON.parse(String(message)) as [0, 0, 0, string, unknown]
        if (event === 'new_msg') return JSON.stringify(payload)
      }
      return 'nothing'
    }
    assert.equal(await told(), '{"name":"Bot","body":"Hello ann!"}')
    ann.send('["1","2","room:lobby","new_msg",{"body":"Who is here?"}]')
    assert.equal(await bot.line(), 'ann: Who is here?')
    assert.equal(await told(), '{"name":"Bot","body":"Bot, ann"}')
    await ann.close()
    assert.equal(await bot.line(), 'ann went')
    chat.stop()
    await chat.ended
    await run(t, 'channels-chat/server', { PORT: port }).port()
    for (let line = await bot.line(); line !== 'joined the lobby'; line = await bot.line()) {
      assert.match(line ?? 'the bot has ended', /refused|could not|connect/i)
    }
    bot.stop()
    assert.equal((await bot.ended).code, 0)
  })

  test('the transcript of channels is what the documentation shows', async (t) => {
    const program = run(t, 'channels-transcript')
    const docs = readFileSync(`${root}docs/protocols.md`, 'utf8')
    const [, shown = ''] = /^```text\n(> .*?)^```$/ms.exec(docs) ?? []
    for (const line of shown.trimEnd().split('\n')) assert.equal(await program.line(), line)
    assert.deepEqual(await program.ended, { code: 0, errors: '' })
  })

  test('the rooms bring what is said in one to its other members only', async (t) => {
    const url = `ws://localhost:${await run(t, 'rooms').port()}`
    const [ann, bob, eve] = [await enter(t, url), await enter(t, url), await enter(t, url)]
    ann.send('join red')
    assert.equal(await hears(ann), '1 in red')
    bob.send('join red')
    assert.equal(await hears(bob), '2 in red')
    assert.equal(await hears(ann), '2 in red')
    eve.send('join blue')
    assert.equal(await hears(eve), '1 in blue')
    ann.send('say red hello to all of you')
    assert.equal(await hears(bob), 'hello to all of you')
    await hearsNothing(ann)
    await hearsNothing(eve)
    eve.send('say red let me in')
    assert.equal(await hears(eve), 'you are not in red')
    ann.send('leave red')
    assert.equal(await hears(bob), '1 in red')
    await hearsNothing(ann)
  })

  test('the metrics count what happened', async (t) => {
    const program = run(t, 'metrics')
    const one = await enter(t, `ws://localhost:${await program.port()}`)
    one.send('hello')
    assert.equal(await hears(one), 'hello')
    await one.close()
    assert.equal(await program.line(), "{ open: 1, message: 1, close: 1, 'close 1000': 1 }")
  })

  test('the users are reached, and signed out, in all their tabs', async (t) => {
    const url = `ws://localhost:${await run(t, 'users').port()}`
    const client = new WebsocketClient({ reconnect: true })
    t.after(() => client.close())
    const tabs = [await enter(t, `${url}?token=a1`), await client.open(`${url}?token=a1`)]
    const bob = await enter(t, `${url}?token=b2`)
    bob.send('tell ann good morning')
    for (const tab of tabs) assert.equal(await hears(tab), 'bob: good morning')
    const closed = [...tabs.map((tab) => once(tab, 'close')), once(client, 'closed')]
    tabs[0]?.send('sign-out')
    const reason: CloseReason = { code: 1008, description: 'signed out' }
    assert.deepEqual(await Promise.all(closed), [reason, reason, reason])
    assert.equal(bob.isOpen, true)
    await assert.rejects(enter(t, `${url}?token=c3`), (error) => {
      return error instanceof ConnectError && error.status === 401
    })
  })

  const { status } = spawnSync('openssl', ['version'])
  const skip = status === 0 ? false : 'there is no openssl to make a certificate with'
  test('the tls sample trusts its own certificate, and speaks in private', { skip }, async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'certificate-'))
    t.after(() => rm(folder, { recursive: true }))
    const [TLS_CERT, TLS_KEY] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
    const made = spawnSync('openssl', [
      ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1'],
      ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'],
      ...['-keyout', TLS_KEY, '-out', TLS_CERT],
    ])
    assert.equal(made.status, 0, String(made.stderr))
    const program = run(t, 'tls', { TLS_CERT, TLS_KEY })
    await program.port()
    assert.equal(await program.line(), 'in private: hello')
    assert.deepEqual(await program.ended, { code: 0, errors: '' })
  })
})
