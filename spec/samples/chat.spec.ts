import assert from 'node:assert/strict'
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { once as onceOf } from 'node:events'
import { request as ask, type IncomingHttpHeaders } from 'node:http'
import { createServer, type AddressInfo } from 'node:net'
import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { suite, test, type TestContext } from 'node:test'
import type { Page } from 'playwright-core'
import { ConnectError, once, Room, WebsocketClient, type CloseReason } from 'simplewebsockets'
import { startChat } from '../../samples/chat/site.ts'
import { openChromium, openPage } from '../support/chromium.ts'
import { sparePort } from '../support/ports.ts'

type Message = Readonly<Record<string, unknown>>

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/

/** A person in the chat. */
interface Person {
  send(message: unknown): void
  sendRaw(data: string | Uint8Array): void
  /** The next message, its time checked and replaced by T. */
  next(): Promise<Message>
  /** Nothing else has come: a ping's answer is the next thing. */
  hearsNothing(): Promise<void>
  join(room: string): Promise<void>
  close(): Promise<CloseReason>
}

interface Chat {
  readonly port: number
  readonly close: () => Promise<void>
  /** Connects a person; what the chat says first is read already. */
  enter(name: string): Promise<Person>
  /** Connects a person, and enters a room. */
  enterRoom(name: string, room: string): Promise<Person>
}

async function chatFor(t: TestContext): Promise<Chat> {
  const { address, close } = await startChat(0)
  t.after(close)
  const enter = async (name: string): Promise<Person> => {
    const person = await connect(address.port, name)
    assert.equal((await person.next()).type, 'system')
    return person
  }
  const enterRoom = async (name: string, room: string): Promise<Person> => {
    const person = await enter(name)
    await person.join(room)
    return person
  }
  return { port: address.port, close, enter, enterRoom }
}

async function connect(port: number, name: string): Promise<Person> {
  const url = `ws://localhost:${port}/chat?token=${encodeURIComponent(name)}`
  const connection = await new WebsocketClient().open(url)
  const next = async (): Promise<Message> => {
    const data = await once(connection, 'message')
    assert.equal(typeof data, 'string')
    const { timestamp, ...message } = JSON.parse(String(data)) as Message
    if (timestamp === undefined) return message
    assert.ok(typeof timestamp === 'string' && TIME.test(timestamp))
    return { ...message, timestamp: 'T' }
  }
  const send = (message: unknown): void => void connection.send(JSON.stringify(message))
  return {
    send,
    next,
    sendRaw: (data) => void connection.send(data),
    hearsNothing: async () => {
      send({ type: 'ping' })
      assert.deepEqual(await next(), { type: 'pong', timestamp: 'T' })
    },
    join: async (room) => {
      send({ type: 'join', room_id: room })
      const message = `Welcome to room ${room}`
      assert.deepEqual(await next(), { type: 'joined', room_id: room, message, timestamp: 'T' })
    },
    close: () => connection.close(),
  }
}

const joined = (count: number): Message => ({
  type: 'user_joined',
  message: 'A user joined the room',
  count,
})
const left = (count: number): Message => ({
  type: 'user_left',
  message: 'A user left the room',
  count,
})
const error = (message: string): Message => ({ type: 'error', message, timestamp: 'T' })

suite('what the chat says', () => {
  test('a person who connects is told how to join', async (t) => {
    const { port } = await chatFor(t)
    const ada = await connect(port, 'Ada')
    assert.deepEqual(await ada.next(), {
      type: 'system',
      message: "Connected. Send a 'join' message with room_id to join a room.",
      timestamp: 'T',
    })
  })

  test('a person who joins is welcomed, and only the others are told the new count', async (t) => {
    const chat = await chatFor(t)
    const ada = await chat.enterRoom('Ada', 'lobby')
    await ada.hearsNothing()
    const grace = await chat.enterRoom('Grace', 'lobby')
    assert.deepEqual(await ada.next(), joined(2))
    await grace.hearsNothing()
    await chat.enterRoom('Kay', 'lobby')
    assert.deepEqual(await ada.next(), joined(3))
    assert.deepEqual(await grace.next(), joined(3))
  })

  test('a person who joins is welcomed before anything that follows from it', async (t) => {
    const chat = await chatFor(t)
    const ada = await chat.enter('Ada')
    ada.send({ type: 'join', room_id: 'lobby' })
    ada.send({ type: 'chat_message', message: 'first!' })
    assert.equal((await ada.next()).type, 'joined')
    assert.equal((await ada.next()).type, 'chat_message')
  })

  test('the name of a room is any text', async (t) => {
    const chat = await chatFor(t)
    for (const room of ['__proto__', 'clients', ' spaced ', '房间', '<b>']) {
      const ada = await chat.enterRoom('Ada', room)
      const grace = await chat.enterRoom('Grace', room)
      assert.deepEqual(await ada.next(), joined(2))
      await Promise.all([ada.close(), grace.close()])
    }
  })

  test('a message goes to all in the room, its sender too, under the name of the token', async (t) => {
    const chat = await chatFor(t)
    const ada = await chat.enterRoom('Ada Lovelace', 'lobby')
    const grace = await chat.enterRoom('Grace', 'lobby')
    const kay = await chat.enterRoom('Kay', 'elsewhere')
    await ada.next()
    ada.send({ type: 'chat_message', message: ' Good <b>day</b> 🌍 ' })
    const said = {
      type: 'chat_message',
      message: ' Good <b>day</b> 🌍 ',
      timestamp: 'T',
      user_id: 'Ada Lovelace',
    }
    assert.deepEqual(await ada.next(), said)
    assert.deepEqual(await grace.next(), said)
    await kay.hearsNothing()
  })

  for (const [sent, heard] of [
    ['typing_start', 'user_typing'],
    ['typing_stop', 'user_stopped_typing'],
  ]) {
    test(`the others, and not the sender, hear ${String(sent)} as ${String(heard)}`, async (t) => {
      const chat = await chatFor(t)
      const ada = await chat.enterRoom('Ada', 'lobby')
      const grace = await chat.enterRoom('Grace', 'lobby')
      await ada.next()
      grace.send({ type: sent })
      assert.deepEqual(await ada.next(), { type: heard, user_id: 'Grace', timestamp: 'T' })
      await grace.hearsNothing()
    })
  }

  test('a ping is answered, in a room or not', async (t) => {
    const chat = await chatFor(t)
    const ada = await chat.enter('Ada')
    await ada.hearsNothing()
    await ada.join('lobby')
    await ada.hearsNothing()
  })

  test('when a person goes the others are told', async (t) => {
    const chat = await chatFor(t)
    const ada = await chat.enterRoom('Ada', 'lobby')
    const grace = await chat.enterRoom('Grace', 'lobby')
    const kay = await chat.enterRoom('Kay', 'lobby')
    await Promise.all([ada.next(), grace.next()])
    await ada.next()
    await kay.close()
    assert.deepEqual(await ada.next(), left(2))
    assert.deepEqual(await grace.next(), left(2))
    await grace.close()
    assert.deepEqual(await ada.next(), left(1))
    await ada.close()
    const again = await chat.enterRoom('Ada', 'lobby')
    await again.hearsNothing()
  })

  test('when a person goes without having joined, the others are not told', async (t) => {
    const chat = await chatFor(t)
    const ada = await chat.enterRoom('Ada', 'lobby')
    const grace = await chat.enter('Grace')
    await grace.close()
    await ada.hearsNothing()
  })

  test('joining a second room leaves the first', async (t) => {
    const chat = await chatFor(t)
    const ada = await chat.enterRoom('Ada', 'one')
    const grace = await chat.enterRoom('Grace', 'one')
    const kay = await chat.enterRoom('Kay', 'two')
    assert.deepEqual(await ada.next(), joined(2))
    await grace.join('two')
    assert.deepEqual(await ada.next(), left(1))
    assert.deepEqual(await kay.next(), joined(2))
    ada.send({ type: 'chat_message', message: 'still here?' })
    assert.equal((await ada.next()).type, 'chat_message')
    await grace.hearsNothing()
    await grace.close()
    assert.deepEqual(await kay.next(), left(1))
    await ada.hearsNothing()
  })

  test('joining the room one is in is confirmed, and the others are not told', async (t) => {
    const chat = await chatFor(t)
    const ada = await chat.enterRoom('Ada', 'lobby')
    const grace = await chat.enterRoom('Grace', 'lobby')
    await ada.next()
    await grace.join('lobby')
    await ada.hearsNothing()
    await grace.close()
    assert.deepEqual(await ada.next(), left(1))
  })

  test('two people may have the same name', async (t) => {
    const chat = await chatFor(t)
    const one = await chat.enterRoom('Ada', 'lobby')
    const other = await chat.enterRoom('Ada', 'lobby')
    assert.deepEqual(await one.next(), joined(2))
    one.send({ type: 'typing_start' })
    assert.deepEqual(await other.next(), { type: 'user_typing', user_id: 'Ada', timestamp: 'T' })
    await one.hearsNothing()
  })
})

suite('what the chat does not take', () => {
  const outside: [what: string, sent: string | Uint8Array, message: string][] = [
    ['text that is no JSON', '{"type":', 'Invalid JSON format'],
    ['nothing', '', 'Invalid JSON format'],
    ['bytes', new Uint8Array([1, 2, 3]), 'Invalid JSON format'],
    ['a list', '[]', 'Invalid JSON format'],
    ['null', 'null', 'Invalid JSON format'],
    ['a number', '42', 'Invalid JSON format'],
    ['a text', '"join"', 'Invalid JSON format'],
    ['a type that is unknown', '{"type":"dance"}', 'Unknown message type: dance'],
    ['the name of a property as a type', '{"type":"toString"}', 'Unknown message type: toString'],
    ['no type', '{}', 'Unknown message type: '],
    ['a type that is no text', '{"type":42}', 'Unknown message type: 42'],
    ['a join without a room', '{"type":"join"}', 'room_id is required'],
    ['a join of null', '{"type":"join","room_id":null}', 'room_id is required'],
    ['a join of a number', '{"type":"join","room_id":7}', 'room_id is required'],
    ['a join of a blank room', '{"type":"join","room_id":" "}', 'room_id is required'],
    [
      'a message outside of a room',
      '{"type":"chat_message","message":"hi"}',
      "Not in a room. Send a 'join' message first.",
    ],
    [
      'an overlong message outside of a room',
      JSON.stringify({ type: 'chat_message', message: 'x'.repeat(1001) }),
      "Not in a room. Send a 'join' message first.",
    ],
    ['typing outside of a room', '{"type":"typing_start"}', 'Not in a room'],
    ['the end of typing outside of a room', '{"type":"typing_stop"}', 'Not in a room'],
  ]
  for (const [what, sent, message] of outside) {
    test(`${what}: ${message}`, async (t) => {
      const chat = await chatFor(t)
      const ada = await chat.enter('Ada')
      ada.sendRaw(sent)
      assert.deepEqual(await ada.next(), error(message))
      await ada.hearsNothing()
    })
  }

  const inside: [what: string, message: unknown, text: string][] = [
    ['a message without words', undefined, 'Message is required'],
    ['a message of null', null, 'Message is required'],
    ['a message of a number', 7, 'Message is required'],
    ['an empty message', '', 'Message cannot be empty'],
    ['a blank message', ' \n\t\u3000', 'Message cannot be empty'],
    ['a message of 1001 letters', 'x'.repeat(1001), 'Message too long'],
    ['a message of 1001 emojis', '😀'.repeat(1001), 'Message too long'],
    ['1001 blanks, whose length is looked at first', ' '.repeat(1001), 'Message too long'],
  ]
  for (const [what, message, text] of inside) {
    test(`${what}: ${text}`, async (t) => {
      const chat = await chatFor(t)
      const ada = await chat.enterRoom('Ada', 'lobby')
      const grace = await chat.enterRoom('Grace', 'lobby')
      await ada.next()
      grace.send({ type: 'chat_message', message })
      assert.deepEqual(await grace.next(), error(text))
      await ada.hearsNothing()
    })
  }

  test('a message of 1000 code points is not too long, however many units they take', async (t) => {
    const chat = await chatFor(t)
    const ada = await chat.enterRoom('Ada', 'lobby')
    for (const message of ['x'.repeat(1000), '😀'.repeat(1000)]) {
      ada.send({ type: 'chat_message', message })
      assert.equal((await ada.next()).message, message)
    }
  })

  test('an unexpected failure is logged and answered, and the connection goes on', async (t) => {
    const chat = await chatFor(t)
    const ada = await chat.enterRoom('Ada', 'lobby')
    const logged = t.mock.method(console, 'error', () => {})
    const failure = new Error('boom')
    const fail = (): never => {
      throw failure
    }
    t.mock.method(Room.prototype, 'emit', fail, { times: 1 })
    ada.send({ type: 'chat_message', message: 'hi' })
    assert.deepEqual(await ada.next(), error('Internal server error'))
    assert.deepEqual(logged.mock.calls[0]?.arguments, [failure])
    ada.send({ type: 'chat_message', message: 'hi again' })
    assert.equal((await ada.next()).message, 'hi again')
  })

  test('a refused join leaves one in the room one was in', async (t) => {
    const chat = await chatFor(t)
    const ada = await chat.enterRoom('Ada', 'lobby')
    ada.send({ type: 'join' })
    assert.deepEqual(await ada.next(), error('room_id is required'))
    ada.send({ type: 'chat_message', message: 'still here' })
    assert.equal((await ada.next()).message, 'still here')
  })
})

suite('a handshake', () => {
  const refused: [who: string, query: string, status: number, body: RegExp][] = [
    ['without a name', '', 401, /token/],
    ['with an empty name', '?token=', 401, /token/],
    ['with a blank name', '?token=%20%20', 401, /token/],
    ['with two names', '?token=Ada&token=Grace', 401, /token/],
    ['with a name of 33 letters', `?token=${'x'.repeat(33)}`, 400, /at most 32 characters/],
    ['with a line break in the name', '?token=A%0AB', 400, /control characters/],
  ]
  for (const [who, query, status, body] of refused) {
    test(`a person ${who} is refused with ${status}`, async (t) => {
      const { port } = await chatFor(t)
      const opening = new WebsocketClient().open(`ws://localhost:${port}/chat${query}`)
      await assert.rejects(opening, (refusal) => {
        assert.ok(refusal instanceof ConnectError)
        assert.equal(refusal.status, status)
        assert.match(refusal.body ?? '', body)
        return true
      })
    })
  }

  test('a name is trimmed, and as long as 32 characters of any kind', async (t) => {
    const chat = await chatFor(t)
    const ada = await chat.enterRoom(`  ${'😀'.repeat(32)} `, 'lobby')
    ada.send({ type: 'chat_message', message: 'hi' })
    assert.equal((await ada.next()).user_id, '😀'.repeat(32))
  })

  test('there is no WebSocket beside /chat', async (t) => {
    const { port } = await chatFor(t)
    const opening = new WebsocketClient().open(`ws://localhost:${port}/other?token=Ada`)
    await assert.rejects(opening, { name: 'ConnectError', status: 404 })
  })

  test('pages of others may not connect', async (t) => {
    const { port } = await chatFor(t)
    const client = new WebsocketClient({ headers: { origin: 'https://evil.example' } })
    const opening = client.open(`ws://localhost:${port}/chat?token=Ada`)
    await assert.rejects(opening, { name: 'ConnectError', status: 403 })
  })

  test('a chat that closes tells every client that it goes away', async (t) => {
    const { port, close } = await chatFor(t)
    const connection = await new WebsocketClient().open(`ws://localhost:${port}/chat?token=Ada`)
    await Promise.all([close(), close()])
    assert.equal((await once(connection, 'close')).code, 1001)
  })
})

interface Answer {
  readonly status: number | undefined
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** Asks for a target exactly as it is written: `fetch` would make it a proper one. */
async function answerTo(port: number, path: string, method = 'GET'): Promise<Answer> {
  const request = ask({ port, host: 'localhost', path, method, agent: false }).end()
  const [response] = (await onceOf(request, 'response')) as [import('node:http').IncomingMessage]
  return { status: response.statusCode, headers: response.headers, body: await text(response) }
}

suite('the page', () => {
  const files: [path: string, type: RegExp][] = [
    ['/', /^text\/html/],
    ['/?from=a-link', /^text\/html/],
    ['/page.css', /^text\/css/],
    ['/page.js', /^text\/javascript/],
    ['/icon.svg', /^image\/svg/],
  ]
  test('is served with what it needs, and may load nothing from anywhere else', async (t) => {
    const { port } = await chatFor(t)
    for (const [path, type] of files) {
      const { status, headers, body } = await answerTo(port, path)
      assert.equal(status, 200)
      assert.match(headers['content-type'] ?? '', type)
      assert.match(String(headers['content-security-policy']), /^default-src 'none'; /)
      assert.doesNotMatch(String(headers['content-security-policy']), /unsafe|\*|http/)
      assert.equal(headers['x-content-type-options'], 'nosniff')
      assert.equal(headers['referrer-policy'], 'no-referrer')
      assert.notEqual(body, '')
    }
  })

  const others: [method: string, path: string, status: number][] = [
    ['HEAD', '/', 200],
    ['POST', '/', 405],
    ['GET', '/chat', 426],
    ['GET', '/server.ts', 404],
    ['GET', '/line.js', 404],
    ['GET', '/../chat.ts', 404],
    ['GET', '//', 404],
    ['GET', '/%', 404],
    ['GET', 'http://[', 404],
  ]
  for (const [method, path, status] of others) {
    test(`${method} ${path} is answered with ${status}`, async (t) => {
      const { port } = await chatFor(t)
      assert.equal((await answerTo(port, path, method)).status, status)
    })
  }

  test('can ask how many are in a room, for a person who joins is not told', async (t) => {
    const chat = await chatFor(t)
    const ada = await chat.enterRoom('Ada', 'lobby & co')
    await chat.enterRoom('Grace', 'lobby & co')
    const count = async (query: string): Promise<unknown> =>
      JSON.parse((await answerTo(chat.port, `/count${query}`)).body)
    assert.deepEqual(await count('?room=lobby%20%26%20co'), { count: 2 })
    await ada.close()
    assert.deepEqual(await count('?room=lobby+%26+co'), { count: 1 })
    assert.deepEqual(await count('?room=empty'), { count: 0 })
    assert.deepEqual(await count(''), { count: 0 })
  })
})

type Program = ChildProcessByStdio<null, Readable, Readable>

function start(t: TestContext, environment: Record<string, string>): Program {
  const program = spawn(
    process.execPath,
    ['--conditions=source', '--import', 'tsx', 'samples/chat/server.ts'],
    { env: { ...process.env, ...environment }, stdio: ['ignore', 'pipe', 'pipe'] },
  )
  t.after(() => program.kill('SIGKILL'))
  return program
}

/** Starts the program, and reads the port from what it says. */
async function run(t: TestContext, wanted: string): Promise<{ program: Program; port: string }> {
  const program = start(t, { PORT: wanted })
  const [said] = (await onceOf(program.stdout, 'data')) as [Buffer]
  const [, port = ''] = /^Chat: http:\/\/localhost:(\d+) /.exec(String(said)) ?? []
  return { program, port }
}

suite('the program', () => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    test(`says where to look, and ends by itself on ${signal}`, async (t) => {
      const program = start(t, { PORT: '0' })
      const [said] = (await onceOf(program.stdout, 'data')) as [Buffer]
      const [, port] = /^Chat: http:\/\/localhost:(\d+) /.exec(String(said)) ?? []
      assert.match(String(said), /two tabs/)
      const connection = await new WebsocketClient().open(
        `ws://localhost:${String(port)}/chat?token=Ada`,
      )
      const exited = onceOf(program, 'exit')
      program.kill(signal)
      program.kill(signal)
      assert.equal((await once(connection, 'close')).code, 1001)
      assert.deepEqual(await exited, [0, null])
    })
  }

  test('says which port is in use, and how to choose another', async (t) => {
    const other = createServer().listen(0, 'localhost')
    t.after(() => other.close())
    await onceOf(other, 'listening')
    const { port } = other.address() as AddressInfo
    const program = start(t, { PORT: String(port) })
    const [said, exit] = await Promise.all([text(program.stderr), onceOf(program, 'exit')])
    assert.match(
      said,
      new RegExp(`^Port ${port} on localhost is in use already\\. .*PORT=\\d+ npm start\n$`),
    )
    assert.deepEqual(exit, [1, null])
  })

  for (const PORT of ['eighty', '65536', '-1', '1.5']) {
    test(`does not start on a port of ${PORT}`, async (t) => {
      const program = start(t, { PORT })
      const [said, exit] = await Promise.all([text(program.stderr), onceOf(program, 'exit')])
      assert.equal(said, `PORT is to be a whole number from 0 to 65535, not ${PORT}.\n`)
      assert.deepEqual(exit, [1, null])
    })
  }
})

suite('in a browser', () => {
  async function sitDown(page: Page, port: number, name: string, room: string): Promise<void> {
    await page.goto(`http://localhost:${port}/#${encodeURIComponent(room)}`)
    await page.getByLabel('Your name').fill(name)
    await page.getByRole('button', { name: 'Join the room' }).click()
    await page.getByText(`Welcome to room ${room}`).waitFor()
  }

  async function say(page: Page, words: string): Promise<void> {
    await page.getByLabel('Message', { exact: true }).fill(words)
    await page.keyboard.press('Enter')
  }

  test('two tabs talk, see each other type, and one is told when the other leaves', async (t) => {
    const browser = await openChromium(t)
    if (!browser) return
    const { port } = await chatFor(t)
    const complaints: string[] = []
    const ada = await openPage(browser, complaints)
    const grace = await openPage(browser, complaints)
    await sitDown(ada, port, 'Ada', 'lobby')
    await ada.getByText('Only you are here').waitFor()
    await sitDown(grace, port, 'Grace', 'lobby')
    await ada.getByText('A user joined the room').waitFor()
    for (const page of [ada, grace]) await page.getByText('2 people are here').waitFor()

    const typing = ada.getByText('Grace is typing').waitFor()
    await grace.getByLabel('Message', { exact: true }).pressSequentially('Hel')
    await typing
    await say(grace, 'Hello, Ada!')
    await ada.locator('.said:not(.own)', { hasText: 'Hello, Ada!' }).waitFor()
    await grace.locator('.said.own', { hasText: 'Hello, Ada!' }).waitFor()
    await ada.getByText('Grace is typing').waitFor({ state: 'detached' })

    const markup = '<img src=x onerror="document.title=1"><b>bold</b>'
    await say(ada, markup)
    await grace.getByText(markup).waitFor()
    assert.equal(await grace.locator('.log img, .log b').count(), 0)

    await grace.getByRole('button', { name: 'Leave the chat' }).click()
    await ada.getByText('A user left the room').waitFor()
    await ada.getByText('Only you are here').waitFor()
    assert.deepEqual(complaints, [])
  })

  test('a tab goes from room to room by its address, and comes back after a reload', async (t) => {
    const browser = await openChromium(t)
    if (!browser) return
    const { port } = await chatFor(t)
    const complaints: string[] = []
    const ada = await openPage(browser, complaints, { viewport: { width: 360, height: 640 } })
    await sitDown(ada, port, 'Ada', 'tea & cake')
    await ada.getByRole('button', { name: 'Rooms', exact: true }).click()
    await ada.getByLabel('Another room').fill('music')
    await ada.keyboard.press('Enter')
    await ada.getByText('Welcome to room music').waitFor()
    assert.match(ada.url(), /#music$/)
    await ada.goBack()
    await ada.getByText('Welcome to room tea & cake').waitFor()
    await ada.reload()
    await ada.getByText('Welcome to room tea & cake').waitFor()
    await say(ada, 'back')
    await ada.locator('.said.own', { hasText: 'back' }).waitFor()
    assert.deepEqual(complaints, [])
  })

  test('a tab whose chat goes away says so, and is back in its room when the chat is', async (t) => {
    const browser = await openChromium(t)
    if (!browser) return
    const { port, close } = await chatFor(t)
    const ada = await openPage(browser, [])
    await sitDown(ada, port, 'Ada', 'lobby')
    await say(ada, 'before')
    await ada.locator('.said.own', { hasText: 'before' }).waitFor()
    await close()
    await ada.getByText('Connection lost.').waitFor()
    await ada.getByLabel('Message', { exact: true }).fill('after')
    const again = await startChat(port)
    t.after(again.close)
    await ada.getByText('You are back').waitFor()
    await ada.getByRole('button', { name: 'Send' }).click()
    await ada.locator('.said.own', { hasText: 'after' }).waitFor()
    await ada.locator('.said.own', { hasText: 'before' }).waitFor()
  })

  test('two tabs talk on after each crash of their server', async (t) => {
    const browser = await openChromium(t)
    if (!browser) return
    let { program, port } = await run(t, String(await sparePort()))
    const ada = await openPage(browser, [])
    const grace = await openPage(browser, [])
    await sitDown(ada, Number(port), 'Ada', 'lobby')
    await sitDown(grace, Number(port), 'Grace', 'lobby')
    for (const words of ['one', 'two', 'three']) {
      await say(ada, words)
      await grace.locator('.said:not(.own)', { hasText: words }).waitFor()
      await ada.locator('.said.own', { hasText: words }).waitFor() // a crash may lose one copy of two
      const ended = onceOf(program, 'exit')
      program.kill('SIGKILL')
      await ended
      for (const page of [ada, grace]) {
        await page.getByText('Connection lost.').waitFor()
        await page.locator('#state', { hasText: 'Offline' }).waitFor()
      }
      ;({ program, port } = await run(t, port))
      for (const page of [ada, grace]) {
        await page.locator('#state', { hasText: 'Connected' }).waitFor()
        await page.getByText('2 people are here').waitFor()
      }
    }
    await say(grace, 'and on we talk')
    await ada.locator('.said:not(.own)', { hasText: 'and on we talk' }).waitFor()
    assert.equal(await ada.locator('.said.own .bubble').count(), 3)
  })

  test('a tab need not wait for the next try', async (t) => {
    const browser = await openChromium(t)
    if (!browser) return
    const { port, close } = await chatFor(t)
    const ada = await openPage(browser, [])
    await ada.addInitScript('Math.random = () => 1') // the longest waits
    await sitDown(ada, port, 'Ada', 'lobby')
    await close()
    await ada.getByText('Trying again in 4 s.').waitFor()
    const again = await startChat(port)
    t.after(again.close)
    await ada.getByRole('button', { name: 'Try now' }).click()
    await ada.getByText('You are back').waitFor()
  })

  test('the first page says what is wrong when no server answers', async (t) => {
    const browser = await openChromium(t)
    if (!browser) return
    const { port, close } = await chatFor(t)
    const ada = await openPage(browser, [])
    await ada.goto(`http://localhost:${port}/`)
    await ada.getByRole('button', { name: 'Join the room' }).click()
    await ada.getByText('What shall the others call you?').waitFor()
    await close()
    await ada.getByLabel('Your name').fill('Ada')
    await ada.getByRole('button', { name: 'Join the room' }).click()
    await ada.getByText('The chat could not be reached.').waitFor()
  })
})
