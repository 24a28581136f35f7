import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { codec, FrameError, listen, once, WebsocketServer, type Data } from 'simplewebsockets'
import { ChannelServer } from 'simplewebsockets/channels'
import { pair } from 'simplewebsockets/testing'
import { turn } from '../support/scene.ts'

/** A format of numbers: one byte for each. */
const bytes = codec({
  encode: (numbers: number[]) => Uint8Array.from(numbers),
  decode: (data) => [...(data as Uint8Array)],
})

suite('codec', () => {
  test('messages are what `encode` takes and `decode` returns', async () => {
    const [server, client] = pair({ server: { messages: bytes }, client: { messages: bytes } })
    server.send([1, 2, 3])
    assert.deepEqual(await once(client, 'message'), [1, 2, 3])
  })

  for (const [how, decode] of [
    ['throws', () => assert.fail('no such message')],
    ['rejects', () => Promise.reject(new Error('no such message'))],
  ] as const) {
    test(`a \`decode\` that ${how} closes with 1007, and the error has the cause`, async () => {
      const [server, client] = pair({ server: { messages: codec({ encode: String, decode }) } })
      const failed = once(server, 'error')
      client.send('1')
      const error = await failed
      assert.ok(error instanceof FrameError)
      assert.deepEqual([error.code, error.closeCode], ['ERR_MESSAGE_INVALID', 1007])
      assert.match(String(error.cause), /no such message/)
      assert.deepEqual(await once(client, 'close'), {
        code: 1007,
        description: 'could not decode the message',
      })
    })
  }

  test('an asynchronous `decode` keeps the order, and has `timeout` for each message', async (t) => {
    const decode = (data: Data): string | Promise<string> =>
      data === 'never' ? new Promise(() => {}) : Promise.resolve(`${data}!`)
    const messages = codec({ encode: String, decode, timeout: 50 })
    const [server, client] = pair({ server: { messages } })
    const received: string[] = []
    listen(server, 'message', (message) => received.push(message))
    const failed = once(server, 'error')
    t.mock.timers.enable({ apis: ['setTimeout'] })
    for (const text of ['1', 'never', '2']) client.send(text)
    await client.ping()
    await turn()
    assert.deepEqual(received, ['1!'])
    t.mock.timers.tick(50)
    assert.match((await failed).message, /decoding a message took more than 50 ms/)
    await client.ping()
    await turn()
    assert.deepEqual(received, ['1!', '2!'])
  })

  test('what `encode` returns is text or bytes, or `send` throws', () => {
    const [server] = pair({
      server: { messages: codec({ encode: (value: number) => value / 0, decode: String }) },
    })
    assert.throws(() => server.send(1), { name: 'TypeError', message: /what is sent/ })
    assert.equal(server.isOpen, true)
  })

  test('options are checked', () => {
    const bad = (options: object) => () => codec(options as Parameters<typeof codec>[0])
    assert.throws(bad({ encode: String }), /expected `decode` to be a function, got undefined/)
    assert.throws(bad({ encode: String, decode: 5 }), /expected `decode` to be a function, got 5/)
    assert.throws(bad({ encode: String, decod: String }), /did you mean `decode`/)
  })

  test('a server with `messages` has no channels', () => {
    const server = new WebsocketServer({ messages: bytes })
    assert.throws(() => new ChannelServer(server), /a topic has its own contract/)
  })
})
