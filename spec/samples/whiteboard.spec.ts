import assert from 'node:assert/strict'
import { once as onceOf } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { suite, test, type TestContext } from 'node:test'
import { once, WebsocketClient } from 'simplewebsockets'
import { io } from 'socket.io-client'
import * as withSocketIo from '../../bench/whiteboard/with-socket-io.ts'
import * as withWs from '../../bench/whiteboard/with-ws.ts'
import { joinBoard } from '../../samples/whiteboard/client.ts'
import type { Point, ServerMessage } from '../../samples/whiteboard/messages.ts'
import { openChromium, openPage } from '../support/chromium.ts'
import { bundled } from '../support/page.ts'
import { run } from './program.ts'

const CURSOR_INTERVAL = 50 // ms
const TOKENS = { ann: 'a1', bob: 'b2', eve: 'e3', mallory: 'no token' }
const JUNK = '{"type":"stroke","points":"everywhere"}'
const line: Point[] = [
  { x: 0, y: 0 },
  { x: 10, y: 10 },
]

type Name = keyof typeof TOKENS

/** A client that has joined a board. It hears messages as arrays: the type, then the values. */
interface Member {
  readonly hears: () => Promise<unknown[]>
  readonly draw: (points: Point[]) => unknown
  readonly moveCursor: (at: Point) => void
  readonly clear: () => unknown
  readonly leave: () => unknown
}

/** The clients of one of the programs. */
interface Clients {
  readonly join: (port: number, name: Name, board?: number) => Promise<Member>
  /** Resolves with the reason for which a member that sends another shape is disconnected. */
  readonly sendJunk: (port: number, name: Name) => Promise<unknown>
}

interface RunningServer {
  readonly port: number
  readonly stop: () => Promise<unknown>
}

interface Program extends Clients {
  readonly start: (t: TestContext, port?: number) => Promise<RunningServer>
  readonly refusal: RegExp
  readonly junkReason: unknown
}

/** Keeps what a member hears until it is asked for. */
function hearing(): Pick<Member, 'hears'> & { readonly add: (heard: unknown[]) => void } {
  const heard: unknown[][] = []
  let wake = (): void => {}
  return {
    add: (values) => {
      heard.push(values)
      wake()
    },
    hears: async () => {
      for (;;) {
        const next = heard.shift()
        if (next) return next
        await new Promise<void>((resolve) => (wake = resolve))
      }
    },
  }
}

const urlOf = (port: number, name: Name, board = 1): string =>
  `ws://localhost:${port}/board/${board}?token=${encodeURIComponent(TOKENS[name])}`

/** The clients of a program whose messages are those of samples/whiteboard. */
function clientsOf(join: (typeof withWs)['joinBoard'] | typeof joinBoard): Clients {
  return {
    join: async (...place) => {
      const { add, hears } = hearing()
      const onMessage = (message: ServerMessage): void => add(Object.values(message))
      return { ...(await join(urlOf(...place), onMessage)), hears }
    },
    sendJunk: async (...place) => {
      const connection = await new WebsocketClient().open(urlOf(...place))
      connection.send(JUNK)
      return (await once(connection, 'close')).code
    },
  }
}

const clientsOfSocketIo: Clients = {
  join: async (port, name, board = 1) => {
    const url = `http://localhost:${port}/board/${board}`
    const client = withSocketIo.joinBoard(url, TOKENS[name])
    const { socket } = client
    const { add, hears } = hearing()
    socket.onAny((...values: unknown[]) => add(values))
    await new Promise<void>((resolve, reject) => {
      socket.on('connect', resolve).on('connect_error', reject)
    })
    return {
      hears,
      moveCursor: (at) => client.moveCursor(at),
      draw: (points) => socket.emit('stroke', points),
      clear: () => socket.emit('clear'),
      leave: () => socket.disconnect(),
    }
  },
  sendJunk: async (port, name) => {
    const socket = io(`http://localhost:${port}/board/1`, { auth: { token: TOKENS[name] } })
    socket.emit('stroke', 'everywhere')
    return new Promise((resolve) => socket.on('disconnect', resolve))
  },
}

/** Starts a server in this process; `stop` ends its connections as the end of a process would. */
function starter(serve: (http: Server) => void): Program['start'] {
  return async (t, port = 0) => {
    const http = createServer()
    const sockets = new Set<Socket>()
    http.on('connection', (socket) => sockets.add(socket))
    serve(http)
    await onceOf(http.listen(port, 'localhost'), 'listening')
    const stop = async (): Promise<void> => {
      if (!http.listening) return
      const closed = onceOf(http, 'close')
      http.close()
      for (const socket of sockets) socket.destroy()
      await closed
    }
    t.after(stop)
    return { port: (http.address() as AddressInfo).port, stop }
  }
}

const programs: Record<string, Program> = {
  'of ours': {
    start: async (t, port = 0) => {
      const program = run(t, 'whiteboard/server', { PORT: String(port) })
      const stop = (): Promise<unknown> => {
        program.stop()
        return program.ended
      }
      return { port: await program.port(), stop }
    },
    ...clientsOf(joinBoard),
    refusal: /the server answered 401/,
    junkReason: 1008,
  },
  'with ws': {
    start: starter(withWs.serve),
    ...clientsOf(withWs.joinBoard),
    refusal: /the server answered 401/,
    junkReason: 1008,
  },
  'with socket.io': {
    start: starter(withSocketIo.serve),
    ...clientsOfSocketIo,
    refusal: /unauthorized/,
    junkReason: 'io server disconnect',
  },
}

suite('the whiteboard', { concurrency: 2, timeout: 60_000 }, () => {
  for (const [name, { start, refusal, junkReason, join, sendJunk }] of Object.entries(programs)) {
    test(`${name} brings to a board what its members do`, async (t) => {
      const { port } = await start(t)
      const enter = async (...place: [name: Name, board?: number]): Promise<Member> => {
        const member = await join(port, ...place)
        t.after(() => member.leave())
        return member
      }
      const ann = await enter('ann')
      const eve = await enter('eve', 2)
      const bob = await enter('bob')
      for (const member of [ann, eve, bob]) assert.deepEqual(await member.hears(), ['strokes', []])
      assert.deepEqual(await ann.hears(), ['joined', 'bob'])

      ann.draw(line)
      assert.deepEqual(await bob.hears(), ['stroke', 'ann', line])

      for (const x of [100, 200]) {
        const before = performance.now()
        for (let y = 1; y <= 100; y++) ann.moveCursor({ x, y })
        assert.deepEqual(await bob.hears(), ['cursor', 'ann', { x, y: 100 }])
        assert.ok(performance.now() - before > 0.9 * CURSOR_INTERVAL)
      }

      await assert.rejects(enter('mallory'), refusal)
      assert.equal(await sendJunk(port, 'eve'), junkReason)
      for (const member of [ann, bob]) {
        assert.deepEqual(await member.hears(), ['joined', 'eve'])
        assert.deepEqual(await member.hears(), ['left', 'eve'])
      }

      const late = await enter('eve')
      assert.deepEqual(await late.hears(), ['strokes', [line]])
      late.clear()
      for (const member of [ann, bob]) {
        assert.deepEqual(await member.hears(), ['joined', 'eve'])
        assert.deepEqual(await member.hears(), ['clear', 'eve'])
      }
      await enter('ann', 2) // the first thing that board 2 hears of
      assert.deepEqual(await eve.hears(), ['joined', 'ann'])
    })

    test(`${name} is joined again after a restart`, async (t) => {
      const { port, stop } = await start(t)
      const ann = await join(port, 'ann')
      t.after(() => ann.leave())
      ann.draw(line)
      assert.deepEqual(await ann.hears(), ['strokes', []])
      await stop()
      await start(t, port)
      assert.deepEqual(await ann.hears(), ['strokes', []])
      const bob = await join(port, 'bob')
      t.after(() => bob.leave())
      bob.draw(line)
      assert.deepEqual(await ann.hears(), ['joined', 'bob'])
      assert.deepEqual(await ann.hears(), ['stroke', 'bob', line])
    })

    test(`${name} keeps the last 500 strokes for a newcomer`, async (t) => {
      const { port } = await start(t)
      const [ann, bob] = [await join(port, 'ann'), await join(port, 'bob')]
      for (let x = 1; x <= 501; x++) ann.draw([{ x, y: 0 }])
      for (let count = 0; count <= 501; count++) await bob.hears()
      const eve = await join(port, 'eve')
      const [, strokes] = (await eve.hears()) as [string, Point[][]]
      assert.equal(strokes.length, 500)
      assert.deepEqual([strokes.at(0), strokes.at(-1)], [[{ x: 2, y: 0 }], [{ x: 501, y: 0 }]])
      for (const member of [ann, bob, eve]) await member.leave()
    })
  }

  test('is drawn on by a page', async (t) => {
    const browser = await openChromium(t)
    if (!browser) return
    const port = await run(t, 'whiteboard/server').port()
    const ann = await clientsOf(joinBoard).join(port, 'ann')
    t.after(() => ann.leave())
    const page = await openPage(browser, [])
    await page.goto(`http://localhost:${port}/`) // an error, but a page of the server's origin
    const content = await bundled(`export { joinBoard } from './samples/whiteboard/client.ts'`)
    await page.addScriptTag({ content })
    await page.evaluate(`(async () => {
      const url = '${urlOf(port, 'bob')}'
      globalThis.heard = []
      globalThis.board = await spec.joinBoard(url, (message) => heard.push(message.type))
      board.draw([{ x: 1, y: 2 }])
    })()`)
    assert.deepEqual(await ann.hears(), ['strokes', []])
    assert.deepEqual(await ann.hears(), ['joined', 'bob'])
    assert.deepEqual(await ann.hears(), ['stroke', 'bob', [{ x: 1, y: 2 }]])
    ann.clear()
    await page.waitForFunction(`heard.join() === 'strokes,clear'`)
    await page.evaluate('board.leave()')
    assert.deepEqual(await ann.hears(), ['left', 'bob'])
  })
})
