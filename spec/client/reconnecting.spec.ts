import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { getEventListeners, once as onceEmitted } from 'node:events'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  CallbackError,
  ConnectError,
  listen,
  once,
  WebsocketClient,
  WebsocketServer,
  type ClientOptions,
  type CloseReason,
  type Data,
  type Retry,
  type UrlSource,
  type WebsocketConnection,
} from 'simplewebsockets'
import { cut, link } from 'simplewebsockets/testing'
import { OPEN_WITH } from '../../lib/internal.ts'
import type { DialRequest, DialCallbacks, Transport } from '../../lib/transport/transport.ts'
import { RawServer } from '../support/rawpeer.ts'
import { memoryEnds } from '../support/transport/memory.ts'

/** Loses no time. */
const SNAPPY = { delay: () => 1 }

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Makes a client that reconnects, and records everything that it tells. */
function told(options: ClientOptions = { reconnect: SNAPPY }): {
  client: WebsocketClient
  story: string[]
} {
  const client = new WebsocketClient(options)
  const story: string[] = []
  listen(client, 'connect', (connection) => {
    story.push('connect')
    listen(connection, 'close', ({ code }) => void story.push(`close ${code}`))
  })
  listen(client, 'connectError', () => void story.push('connectError'))
  listen(client, 'retry', ({ attempt }) => void story.push(`retry ${attempt}`))
  listen(client, 'closed', ({ code }) => void story.push(`closed ${code}`))
  return { client, story }
}

/** Resolves with the error that an attempt failed with. */
async function failure(opening: Promise<unknown>): Promise<ConnectError> {
  const error: unknown = await opening.then(
    () => undefined,
    (cause: unknown) => cause,
  )
  assert.ok(error instanceof ConnectError, `expected a ConnectError, got ${String(error)}`)
  return error
}

/** A server that answers as it is told, in memory. */
class Desk implements AsyncDisposable {
  readonly calls: DialRequest[] = []
  dropped = 0
  #callers: DialCallbacks[] = []
  #waiting: (() => void)[] = []
  #woken: () => void = () => {}
  readonly network = {
    dial: (call: DialRequest, caller: DialCallbacks): (() => void) => {
      this.calls.push(call)
      this.#callers.push(caller)
      this.#waiting.shift()?.()
      return () => {
        this.dropped++
      }
    },
    onWake: (callback: () => void): (() => void) => {
      this.#woken = callback
      return () => (this.#woken = () => {})
    },
  }
  readonly #client: WebsocketClient

  constructor(client: WebsocketClient) {
    this.#client = client
  }

  open(url: UrlSource = 'ws://localhost', signal?: AbortSignal): Promise<WebsocketConnection> {
    return this.#client[OPEN_WITH](this.network, url, signal)
  }

  /** Answers the next call, with a transport that may have more to it. */
  async answer(more: Partial<Transport> = {}): Promise<{ pings: () => number }> {
    const caller = await this.#next()
    const [here, there] = memoryEnds()
    let pings = 0
    const ping = (): void => {
      pings++
    }
    const quiet = (): void => {}
    const told = {
      onMessage: quiet,
      onPong: quiet,
      onFlushed: quiet,
      onPeerClose: quiet,
      onClosed: quiet,
    }
    here.start({ ...told, onInvalid: quiet, onPing: ping })
    caller.onOpen(Object.assign(there, more))
    return { pings: () => pings }
  }

  async refuse(status?: number): Promise<void> {
    const caller = await this.#next()
    caller.onError(new ConnectError('refused', { status }))
    await turn()
  }

  wake(): void {
    this.#woken()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.close()
  }

  async #next(): Promise<DialCallbacks> {
    if (this.#callers.length === 0) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
    const caller = this.#callers.shift()
    assert.ok(caller)
    return caller
  }
}

/** Runs a program of its own that has our package at hand; gives its exit code and its words. */
async function run(code: string): Promise<{ code: unknown; said: string }> {
  const child = spawn(
    process.execPath,
    ['--conditions=source', '--import', 'tsx', '--input-type=module', '-e', code],
    { cwd: join(import.meta.dirname, '../..') },
  )
  let said = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => (said += chunk.toString()))
  }
  const [exit] = (await onceEmitted(child, 'close')) as unknown[]
  return { code: exit, said }
}

// over real sockets

test('a client connects again when its server comes back, with a fresh connection', async () => {
  const server = new WebsocketServer()
  const { port } = await server.serve(0)
  const { client, story } = told({ reconnect: { delay: () => 20 } })
  const first = await client.open(`ws://localhost:${port}`)
  const again = once(client, 'connect')
  await server.close()
  await once(client, 'connectError')
  await server.serve(port)
  const second = await again
  assert.notEqual(first, second)
  assert.equal(first.isOpen, false)
  assert.equal(client.connection, second)
  assert.ok((await second.ping()) >= 0)
  await client.close()
  await once(client, 'closed')
  assert.deepEqual(story.slice(0, 4), ['connect', 'close 1001', 'retry 1', 'connectError'])
  assert.deepEqual(story.slice(-3), ['connect', 'close 1000', 'closed 1000'])
  assert.equal(story.filter((event) => event.startsWith('closed')).length, 1)
  await server.close()
})

test('`open` stays pending until the server is there', async () => {
  const raw = await RawServer.listen()
  const { port } = raw
  await raw.close()
  await using server = new WebsocketServer()
  const { client, story } = told({ reconnect: { delay: () => 10 } })
  const opening = client.open(`ws://localhost:${port}`)
  const retry = await once(client, 'retry')
  assert.ok(retry.cause instanceof ConnectError)
  assert.match(retry.cause.msg, /ECONNREFUSED/)
  await server.serve(port)
  assert.ok((await opening).isOpen)
  assert.deepEqual(story.slice(0, 2), ['connectError', 'retry 1'])
  await client.close()
})

test('with a loop over connections and one over messages nothing is sent twice', async () => {
  await using server = new WebsocketServer()
  listen(server, 'client', (there) => {
    listen(there, 'message', (message) => void there.send(`${message}!`))
  })
  const { port } = await server.serve(0)
  const client = new WebsocketClient({ reconnect: SNAPPY })
  const heard: Data[] = []
  void client.open(`ws://localhost:${port}`)
  let count = 0
  for await (const connection of listen(client, 'connect')) {
    connection.send(`hello ${++count}`)
    for await (const message of listen(connection, 'message')) {
      heard.push(message)
      if (count < 5) cut(connection)
      else await client.close()
    }
  }
  assert.deepEqual(heard, ['hello 1!', 'hello 2!', 'hello 3!', 'hello 4!', 'hello 5!'])
})

for (const [what, headers, least] of [
  ['seconds', 'Retry-After: 3', 3_000],
  [
    'a date',
    'Date: Thu, 01 Jan 2026 00:00:00 GMT\r\nRetry-After: Thu, 01 Jan 2026 00:00:03 GMT',
    3_000,
  ],
  ['nothing', 'X-Other: 3', 0],
] as const) {
  for (const status of [429, 503]) {
    test(`a ${status} that asks for ${what} is tried again after ${least} ms`, async () => {
      const raw = await RawServer.listen()
      const client = new WebsocketClient({ reconnect: SNAPPY })
      const opening = failure(client.open(raw.url))
      const peer = await raw.peer()
      await peer.request()
      const retrying = once(client, 'retry')
      peer.write(`HTTP/1.1 ${status} Later\r\n${headers}\r\nContent-Length: 0\r\n\r\n`)
      const { delay, cause, attempt } = await retrying
      assert.deepEqual([attempt, delay], [1, least + 1])
      assert.ok(cause instanceof ConnectError)
      assert.equal(cause.status, status)
      await client.close()
      await opening
      await raw.close()
    })
  }
}

for (const code of [1012, 1013]) {
  test(`a close ${code} that says retry=MS is tried again after that`, async () => {
    await using server = new WebsocketServer()
    const { port } = await server.serve(0)
    const entered = once(server, 'client')
    const client = new WebsocketClient({ reconnect: SNAPPY })
    await client.open(`ws://localhost:${port}`)
    const retrying = once(client, 'retry')
    void (await entered).close(code, 'retry=2500')
    assert.deepEqual(await retrying, {
      attempt: 1,
      delay: 2_501,
      cause: { code, description: 'retry=2500' },
    })
    await client.close()
  })
}

test('a server that asks to be left alone is, and another one that the url names is dialled', async () => {
  await using server = new WebsocketServer()
  const { port } = await server.serve(0)
  const raw = await RawServer.listen()
  const urls = [raw.url, `ws://localhost:${port}`, raw.url]
  const { client, story } = told()
  const opening = client.open(() => urls.shift() ?? assert.fail())
  const peer = await raw.peer()
  await peer.request()
  peer.write('HTTP/1.1 503 Later\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n')
  const connection = await opening
  assert.equal(connection.request.url, `ws://localhost:${port}/`)
  assert.deepEqual(story, ['connectError', 'retry 1', 'connect'])
  const retries = listen(client, 'retry')
  cut(connection)
  const [first, second] = [(await retries.next()).value, (await retries.next()).value] as Retry[]
  assert.deepEqual([first?.attempt, first?.delay], [2, 1])
  assert.equal(second?.attempt, 2) // the same, which is put off
  assert.equal(second?.cause, first?.cause)
  assert.ok((second?.delay ?? 0) > 3_000_000)
  assert.deepEqual(urls, [])
  await client.close()
  assert.deepEqual(story.slice(3), ['close 1006', 'retry 2', 'retry 2', 'closed 1000'])
  await raw.close()
})

for (const status of [400, 401, 403, 404, 410, 426]) {
  test(`an answer of ${status} is final`, async () => {
    const raw = await RawServer.listen()
    const { client, story } = told()
    const opening = failure(client.open(raw.url))
    const peer = await raw.peer()
    await peer.request()
    peer.write(`HTTP/1.1 ${status} No\r\nContent-Length: 0\r\n\r\n`)
    assert.equal((await opening).status, status)
    assert.deepEqual(story, ['connectError', 'closed 1006'])
    await raw.close()
  })
}

test('what answers nothing is tried again after connectTimeout', async () => {
  const raw = await RawServer.listen()
  const { client, story } = told({ reconnect: SNAPPY, connectTimeout: 300 })
  const opening = failure(client.open(raw.url))
  await (await raw.peer()).gone()
  const second = await raw.peer()
  assert.deepEqual(story.slice(0, 2), ['connectError', 'retry 1'])
  await client.close()
  await second.gone()
  assert.match((await opening).msg, /^gave up to connect/)
  assert.equal(story.at(-1), 'closed 1000')
  await raw.close()
})

// a program

test('a program that waits to reconnect lives, and ends when it is closed', async () => {
  const program = (delay: number, how: string): string => `
    import { listen, WebsocketClient } from 'simplewebsockets'
    const client = new WebsocketClient({ reconnect: { delay: () => ${delay}, attempts: 2 } })
    listen(client, 'connectError', () => {})
    listen(client, 'retry', ({ attempt }) => console.log('retry', attempt))
    listen(client, 'closed', ({ code }) => console.log('closed', code))
    client.open('ws://localhost:1').catch(() => console.log('rejected'))
    ${how}`
  const [waited, closed, aborted] = await Promise.all([
    run(program(50, '')),
    run(program(60_000, `listen(client, 'retry', () => client.close(4000))`)),
    run(
      program(
        60_000,
        `const stop = new AbortController()
         const other = new WebsocketClient({ reconnect: { delay: () => 60_000 } })
         listen(other, 'retry', () => setTimeout(() => stop.abort(), 10))
         other.open('ws://localhost:1', { signal: stop.signal }).catch(() => client.close())`,
      ),
    ),
  ])
  assert.deepEqual([waited.code, waited.said], [0, 'retry 1\nretry 2\nclosed 1006\nrejected\n'])
  assert.deepEqual([closed.code, closed.said], [0, 'retry 1\nclosed 4000\nrejected\n'])
  assert.equal(aborted.code, 0)
  assert.match(aborted.said, /^closed 1000$/m)
})

test('a client that gives up unheard is not silent', async () => {
  const { code, said } = await run(`
    import { WebsocketClient } from 'simplewebsockets'
    const client = new WebsocketClient({ reconnect: { delay: () => 1, attempts: 1 } })
    client.open('ws://localhost:1')`)
  assert.equal(code, 1)
  assert.match(said, /ConnectError/)
})

// options that are asked anew

test('url, headers and protocols are asked anew at every attempt, on every path', async () => {
  let count = 0
  const client = new WebsocketClient({
    reconnect: SNAPPY,
    headers: () => ({ 'X-Count': `${count}` }),
    protocols: () => Promise.resolve([`p${count}`]),
  })
  await using desk = new Desk(client)
  const opening = desk.open(() => Promise.resolve(`ws://localhost/?token=${++count}`))
  await desk.refuse()
  await desk.answer()
  cut(await opening)
  await desk.refuse(503)
  await desk.answer()
  assert.deepEqual(
    desk.calls.map(({ url, headers, protocols }) => [url.search, headers, protocols]),
    [1, 2, 3, 4].map((n) => [`?token=${n}`, { 'X-Count': `${n - 1}` }, [`p${n - 1}`]]),
  )
})

for (const [what, url] of [
  [
    'throws',
    () => {
      throw new TypeError('fetch failed')
    },
  ],
  ['rejects', () => Promise.reject(new TypeError('fetch failed'))],
  ['gives junk', () => 'junk'],
  ['gives nothing', () => undefined],
] as [string, () => string][]) {
  test(`a url function that ${what} is asked again`, async () => {
    const { client, story } = told()
    await using desk = new Desk(client)
    let count = 0
    const opening = desk.open(() => (++count < 3 ? url() : 'ws://localhost'))
    await desk.answer()
    assert.ok((await opening).isOpen)
    assert.deepEqual(story, ['connectError', 'retry 1', 'connectError', 'retry 2', 'connect'])
  })
}

for (const [what, options] of [
  ['headers', { headers: () => ({ a: 5 }) as {} }],
  ['protocols', { protocols: () => ['a', 'a'] }],
] as [string, ClientOptions][]) {
  test(`a function that gives junk for ${what} is asked again`, async () => {
    const { client, story } = told({ ...options, reconnect: { ...SNAPPY, attempts: 1 } })
    await failure(client.open('ws://localhost:1'))
    assert.deepEqual(story, ['connectError', 'retry 1', 'connectError', 'closed 1006'])
  })
}

test('a url function that never settles is asked again after connectTimeout', async () => {
  const { client, story } = told({ reconnect: SNAPPY, connectTimeout: 5 })
  await using desk = new Desk(client)
  let count = 0
  const opening = desk.open(() => (++count < 2 ? new Promise<string>(() => {}) : 'ws://localhost'))
  await desk.answer()
  await opening
  assert.deepEqual(story, ['connectError', 'retry 1', 'connect'])
})

test('a url function that throws a ConnectError with a status is judged by it', async () => {
  const { client, story } = told()
  await using desk = new Desk(client)
  const refused = new ConnectError('the account is closed', { status: 403 })
  assert.equal(await failure(desk.open(() => Promise.reject(refused))), refused)
  assert.deepEqual(story, ['connectError', 'closed 1006'])
})

for (const [what, url, options] of [
  ['a url that is none', 'junk', {}],
  ['a url that is none, though the headers may change', 'junk', { headers: () => ({}) }],
  ['a url with a fragment', 'ws://localhost:1/#x', {}],
  ['a header of two lines', 'ws://localhost:1', { headers: { a: 'b\r\nc: d' } }],
] as [string, UrlSource, ClientOptions][]) {
  test(`${what} is given up at once, whatever \`when\` says`, async () => {
    const { client, story } = told({ ...options, reconnect: { ...SNAPPY, when: () => true } })
    await failure(client.open(url))
    assert.deepEqual(story, ['connectError', 'closed 1006'])
  })
}

test("a header that can't be sent, of a function, is asked for again", async () => {
  const { client, story } = told({
    headers: () => ({ a: 'b\r\nc: d' }),
    reconnect: { ...SNAPPY, attempts: 1 },
  })
  await failure(client.open('ws://localhost:1'))
  assert.deepEqual(story, ['connectError', 'retry 1', 'connectError', 'closed 1006'])
})

// giving up

test('giving up rejects `open` with the last failure, and ends with 1006', async () => {
  const { client, story } = told({ reconnect: { ...SNAPPY, attempts: 2 } })
  await using desk = new Desk(client)
  const opening = failure(desk.open())
  const closed = once(client, 'closed')
  await desk.refuse(500)
  await desk.refuse(502)
  await desk.refuse(503)
  assert.equal((await opening).status, 503)
  assert.deepEqual(await closed, { code: 1006, description: 'refused' })
  assert.deepEqual(story, [
    'connectError',
    'retry 1',
    'connectError',
    'retry 2',
    'connectError',
    'closed 1006',
  ])
})

for (const code of [1000, 1002, 1008]) {
  test(`a close ${code} is the end`, async () => {
    await using server = new WebsocketServer()
    const { client, story } = told()
    const [there] = await link(server, client)
    await there.close(code)
    await once(client, 'closed')
    assert.deepEqual(story, ['connect', `close ${code}`, `closed ${code}`])
  })

  test(`\`when\` may reconnect after ${code} all the same`, async () => {
    await using server = new WebsocketServer()
    const causes: (ConnectError | CloseReason)[] = []
    const when = (cause: ConnectError | CloseReason): boolean => causes.push(cause) > 0
    const { client } = told({ reconnect: { ...SNAPPY, when } })
    const [there] = await link(server, client)
    const again = once(client, 'connect')
    await there.close(code, 'enough')
    assert.ok((await again).isOpen)
    assert.deepEqual(causes, [{ code, description: 'enough' }])
    await client.close()
  })
}

test('closing the connection with 1000 from this side is the end, with another code is not', async () => {
  await using server = new WebsocketServer()
  const { client, story } = told()
  const [, here] = await link(server, client)
  const again = once(client, 'connect')
  here.close(4000)
  const second = await again
  second.close()
  await once(client, 'closed')
  assert.deepEqual(story, [
    'connect',
    'close 4000',
    'retry 1',
    'connect',
    'close 1000',
    'closed 1000',
  ])
})

test('a loss before 10 s have passed counts on', async () => {
  await using server = new WebsocketServer()
  const { client, story } = told({ reconnect: { ...SNAPPY, attempts: 3 } })
  listen(client, 'connect', cut)
  await link(server, client)
  await once(client, 'closed')
  assert.deepEqual(
    story.filter((event) => !event.startsWith('close ')),
    ['connect', 'retry 1', 'connect', 'retry 2', 'connect', 'retry 3', 'connect', 'closed 1006'],
  )
})

for (const name of ['when', 'delay'] as const) {
  test(`a ${name} that throws is an error of the client, which goes on`, async () => {
    await using server = new WebsocketServer()
    const reconnect = {
      ...SNAPPY,
      [name]: () => {
        throw new Error('oops')
      },
    }
    const { client } = told({ reconnect })
    const heard = once(client, 'error')
    const [, here] = await link(server, client)
    const again = once(client, 'connect')
    cut(here)
    const error = await heard
    assert.ok(error instanceof CallbackError)
    assert.deepEqual([error.msg, error.event], ['oops', 'retry'])
    assert.ok((await again).isOpen)
    await client.close()
  })
}

// closing, at any moment

for (const event of ['connect', 'connectError', 'retry', 'closed'] as const) {
  test(`closing inside a ${event} listener is the end`, async () => {
    const { client, story } = told({ reconnect: { ...SNAPPY, attempts: 1 } })
    await using desk = new Desk(client)
    let closing: Promise<void> | undefined
    listen(client, event, () => void (closing ??= client.close(4000)))
    const opening = desk.open()
    const settled = Promise.allSettled([opening])
    if (event === 'connect') await desk.answer()
    else await desk.refuse()
    if (event === 'closed') await desk.refuse()
    await once(client, 'closed')
    await closing
    await settled
    await turn()
    assert.deepEqual(
      story,
      {
        connect: ['connect', 'close 4000', 'closed 4000'],
        connectError: ['connectError', 'closed 4000'],
        retry: ['connectError', 'retry 1', 'closed 4000'],
        closed: ['connectError', 'retry 1', 'connectError', 'closed 1006'],
      }[event],
    )
  })
}

for (const name of ['when', 'delay'] as const) {
  test(`closing inside ${name} is the end, and there is no retry`, async () => {
    const client = new WebsocketClient({
      reconnect: {
        [name]: () => {
          void client.close(4000)
          return name === 'when' ? true : 1
        },
      },
    })
    const retries: Retry[] = []
    listen(client, 'retry', (retry) => void retries.push(retry))
    await using desk = new Desk(client)
    const opening = failure(desk.open())
    await desk.refuse()
    assert.match((await opening).msg, /^gave up to connect/)
    assert.equal((await once(client, 'closed')).code, 4000)
    assert.deepEqual(retries, [])
  })
}

test('closing inside a `close` listener is the end, with the code of the connection', async () => {
  await using server = new WebsocketServer()
  const { client, story } = told()
  listen(client, 'connect', (here) => void listen(here, 'close', () => client.close(4000)))
  const [, here] = await link(server, client)
  cut(here)
  await once(client, 'closed')
  await turn()
  assert.deepEqual(story, ['connect', 'close 1006', 'closed 1006'])
})

test('closing inside the url function is the end, and no server is dialled', async () => {
  const { client, story } = told()
  await using desk = new Desk(client)
  const opening = failure(
    desk.open(() => {
      void client.close(4000)
      return 'ws://localhost'
    }),
  )
  assert.match((await opening).msg, /^gave up to connect/)
  await turn()
  assert.deepEqual([story, desk.calls], [['closed 4000'], []])
})

test('closing while it dials drops the attempt', async () => {
  const { client, story } = told()
  await using desk = new Desk(client)
  const opening = failure(desk.open())
  await desk.refuse()
  const closed = once(client, 'closed')
  while (desk.calls.length < 2) await turn()
  await client.close()
  await opening
  await closed
  assert.equal(desk.dropped, 1)
  assert.deepEqual(story, ['connectError', 'retry 1', 'closed 1000'])
})

test('closing while it waits resolves when it is over, and it may be opened again', async () => {
  const { client, story } = told({ reconnect: { delay: () => 60_000 } })
  await using desk = new Desk(client)
  const opening = failure(desk.open())
  await desk.refuse()
  await client.close()
  await opening
  const again = desk.open()
  await desk.answer()
  assert.ok((await again).isOpen)
  assert.deepEqual(story, ['connectError', 'retry 1', 'closed 1000', 'connect'])
})

for (const moment of ['waiting', 'dialling', 'asking'] as const) {
  test(`a signal aborted while ${moment} is the end`, async () => {
    const { client, story } = told({
      reconnect: { delay: () => (moment === 'waiting' ? 60_000 : 1) },
    })
    await using desk = new Desk(client)
    const stop = new AbortController()
    let count = 0
    const url = (): string | Promise<string> =>
      moment === 'asking' && ++count > 1 ? new Promise(() => {}) : 'ws://localhost'
    const opening = failure(desk.open(url, stop.signal))
    await desk.refuse()
    while (moment === 'dialling' && desk.calls.length < 2) await turn()
    while (moment === 'asking' && count < 2) await turn()
    stop.abort(new Error('enough'))
    const error = await opening
    assert.equal(error.msg, 'gave up to connect: enough')
    assert.deepEqual(story, ['connectError', 'retry 1', 'closed 1006'])
  })
}

test('a signal aborted while connected lets the connection be, and makes it the last one', async () => {
  const { client, story } = told()
  await using desk = new Desk(client)
  const stop = new AbortController()
  const opening = desk.open('ws://localhost', stop.signal)
  await desk.answer()
  const here = await opening
  stop.abort()
  assert.ok((await here.ping()) >= 0)
  cut(here)
  await once(client, 'closed')
  assert.deepEqual(story, ['connect', 'close 1006', 'closed 1006'])
})

test('a signal that many connections share is not listened to while they are open', async () => {
  const { client } = told()
  await using desk = new Desk(client)
  const stop = new AbortController()
  const listeners = (): number => getEventListeners(stop.signal, 'abort').length
  const opening = desk.open('ws://localhost', stop.signal)
  assert.equal(listeners(), 1)
  await desk.answer()
  const here = await opening
  assert.equal(listeners(), 0)
  const retrying = once(client, 'retry')
  cut(here)
  await retrying
  assert.equal(listeners(), 1)
  await client.close()
  assert.equal(listeners(), 0)
})

// opening again

test('opening twice is refused while it waits, and leaves the first alone', async () => {
  const { client, story } = told({ reconnect: { delay: () => 5 } })
  await using desk = new Desk(client)
  const opening = desk.open()
  await desk.refuse()
  assert.match((await failure(desk.open())).msg, /^the client is opening already: close it first$/)
  await desk.answer()
  assert.ok((await opening).isOpen)
  assert.deepEqual(story, ['connectError', 'retry 1', 'connectError', 'connect'])
})

test('opening again inside `closed` begins anew, with its own count', async () => {
  const { client, story } = told({ reconnect: { ...SNAPPY, attempts: 1 } })
  await using desk = new Desk(client)
  const again = new Promise<WebsocketConnection>((resolve, reject) => {
    const open = (): void => void desk.open().then(resolve, reject)
    listen(client, 'closed', open, { once: true })
  })
  const opening = failure(desk.open())
  await desk.refuse()
  await desk.refuse()
  await opening
  await desk.refuse()
  await desk.answer()
  assert.ok((await again).isOpen)
  const gaveUp = ['connectError', 'retry 1', 'connectError', 'closed 1006']
  assert.deepEqual(story, [...gaveUp, 'connectError', 'retry 1', 'connect'])
})

// between two connections

test('what a slow listener still had of the old connection comes before the new one', async () => {
  await using server = new WebsocketServer()
  const { client } = told()
  const heard: unknown[] = []
  let first = true
  listen(client, 'connect', (here) => {
    heard.push('connect')
    if (!first) return
    first = false
    listen(here, 'message', async (message) => {
      heard.push(message)
      await turn()
    })
  })
  const [there] = await link(server, client)
  for (const text of ['one', 'two', 'three']) there.send(text)
  const again = once(client, 'connect')
  await there.close(1001)
  await again
  assert.deepEqual(heard, ['connect', 'one', 'two', 'three', 'connect'])
  await client.close()
})

test('a connection that dies in its own `connect` listener is followed by another', async () => {
  await using server = new WebsocketServer()
  const { client, story } = told()
  listen(client, 'connect', cut, { once: true })
  const [, here] = await link(server, client)
  await once(here, 'close')
  await once(client, 'connect')
  assert.deepEqual(story.slice(0, 4), ['connect', 'close 1006', 'retry 1', 'connect'])
  await client.close()
})

test('a connection whose `connect` listener failed unheard is followed by another', async (t) => {
  const print = t.mock.method(console, 'error', () => {})
  await using server = new WebsocketServer()
  const { client, story } = told()
  const failing = (): Promise<never> => Promise.reject(new Error('no setup'))
  listen(client, 'connect', failing, { once: true })
  await link(server, client)
  await once(client, 'connect')
  assert.deepEqual(story.slice(0, 4), ['connect', 'close 1011', 'retry 1', 'connect'])
  assert.equal(print.mock.callCount(), 1)
  await client.close()
})

// waking

test('a wake while it waits connects at once', async () => {
  const { client, story } = told({ reconnect: { delay: () => 60_000 } })
  await using desk = new Desk(client)
  const opening = desk.open()
  await desk.answer()
  const here = await opening
  const later = performance.now() + 60_000
  const now = test.mock.method(performance, 'now', () => later)
  const retrying = once(client, 'retry')
  cut(here)
  await retrying
  await turn()
  for (let count = 0; count < 100; count++) desk.wake()
  await desk.answer()
  now.mock.restore()
  assert.equal(desk.calls.length, 2)
  assert.deepEqual(story, ['connect', 'close 1006', 'retry 1', 'connect'])
})

test('a wake while it dials, or has closed, changes nothing', async () => {
  const { client, story } = told({ reconnect: { delay: () => 60_000 } })
  await using desk = new Desk(client)
  const opening = failure(desk.open())
  desk.wake()
  await turn()
  desk.wake()
  assert.equal(desk.calls.length, 1)
  await client.close()
  await opening
  desk.wake()
  await turn()
  assert.deepEqual([story, desk.calls.length], [['closed 1000'], 1])
})

test('a wake while connected looks whether the peer is there, once at a time', async () => {
  const { client } = told()
  await using desk = new Desk(client)
  const opening = desk.open()
  const peer = await desk.answer()
  await opening
  for (let count = 0; count < 100; count++) desk.wake()
  await turn()
  assert.equal(peer.pings(), 1)
  desk.wake()
  await turn()
  assert.equal(peer.pings(), 2)
})

test('a wake asks the transport itself, where that knows another way than a ping', async () => {
  const { client } = told()
  await using desk = new Desk(client)
  const opening = desk.open()
  let probes = 0
  const peer = await desk.answer({ probe: () => (probes += 1) })
  await opening
  for (let count = 1; count < 3; count++) {
    desk.wake()
    assert.equal(probes, count)
  }
  await turn()
  assert.equal(peer.pings(), 0)
})
