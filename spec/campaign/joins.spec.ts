import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { listen, once, WebsocketServer } from 'simplewebsockets'
import {
  ChannelServer,
  Presence,
  type ChannelServerOptions,
  type JoinRequest,
} from 'simplewebsockets/channels'
import { frame, RawPeer } from '../support/rawpeer.ts'
import { alarms, handles, restored, turn } from '../support/scene.ts'

const TARGET = '/socket/websocket?vsn=2.0.0'
const TEXT = 1
const MEMBERS = 1_000
const PEERS = 60
const JOINS = 534_000 // bytes of them, of all peers together
const LISTENERS = 13_141 // which ran at once for one connection, once

type Listener = (request: JoinRequest) => unknown

/** Channels on a port, a presence of 1,000 keys in `room:1`, and a neighbour there who must be heard. */
class Hall implements AsyncDisposable {
  readonly server = new WebsocketServer({ closeTimeout: 200 })
  readonly channels: ChannelServer
  /** How many joins were asked about. */
  asked = 0
  readonly #handles = handles()
  readonly #peers: RawPeer[] = []
  port = 0

  private constructor(options: ChannelServerOptions) {
    this.channels = new ChannelServer(this.server, { joinTimeout: 60_000, ...options })
  }

  static async set(listener: Listener, options: ChannelServerOptions = {}): Promise<Hall> {
    const hall = new Hall(options)
    const rooms = hall.channels.topic('room:*')
    const presence = new Presence(rooms)
    listen(rooms, 'join', (request) => {
      hall.asked += 1
      const { keys = [] } = request.payload as { keys?: string[] }
      for (const key of keys) presence.track(request.channel, key, {})
      return listener(request)
    })
    hall.port = (await hall.server.serve(0)).port
    return hall
  }

  async enter(): Promise<RawPeer> {
    const peer = await RawPeer.enter(this.port, { target: TARGET })
    this.#peers.push(peer)
    return peer
  }

  /** Lets in one who is all the members. */
  async crowd(): Promise<RawPeer> {
    const crowd = await this.enter()
    const keys = Array.from({ length: MEMBERS }, (_, index) => `user ${index}`)
    crowd.write(joining('1', 'room:1', { keys }))
    await heard(crowd, 'presence_diff', MEMBERS)
    return crowd
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { tcp } of this.#peers) tcp.destroy()
    await this.server.close()
    assert.deepEqual(alarms, [])
    await restored(this.#handles)
  }
}

function joining(ref: string, topic: string, payload: unknown = {}): Buffer {
  return frame(TEXT, JSON.stringify([ref, ref, topic, 'phx_join', payload]))
}

function leaving(ref: string, topic: string): Buffer {
  return frame(TEXT, JSON.stringify([ref, ref, topic, 'phx_leave', {}]))
}

const heartbeat = frame(TEXT, '[null,"alive","phoenix","heartbeat",{}]')

/** Reads up to the last of so many frames of an event, or with a ref; returns its bytes. */
async function heard(peer: RawPeer, what: string, count = 1): Promise<number> {
  for (let left = count; ;) {
    const read = await peer.next(TEXT)
    assert.ok(read, `expected ${what}`)
    const [, ref, , event] = JSON.parse(read.payload.toString()) as unknown[]
    if (event === what || ref === what) left -= 1
    if (left === 0) return read.payload.length
  }
}

/** Lets the server read and write, as often as it takes the loop to come around. */
async function turns(): Promise<void> {
  for (let count = 0; count < 50; count++) await turn()
}

suite('joins', () => {
  test(`${PEERS} peers with ${JOINS} bytes of joins of a topic with ${MEMBERS} members get a few states each`, async () => {
    await using hall = await Hall.set(({ accept }) => void accept())
    const crowd = await hall.crowd()
    const peers: RawPeer[] = []
    while (peers.length < PEERS) peers.push(await hall.enter())
    const [first] = peers
    assert.ok(first)
    first.write(joining('1', 'room:1'))
    const state = await heard(first, 'presence_state')
    const [{ bytesSent: before }, askedBefore] = [hall.server.stats(), hall.asked]
    const each = Math.ceil(JOINS / PEERS / joining('100', 'room:1').length)
    const refs = Array.from({ length: each }, (_, index) => String(100 + index))
    const joins = Buffer.concat(refs.map((ref) => joining(ref, 'room:1')))
    for (const peer of peers) peer.write(Buffer.concat([joins, heartbeat]))
    // The last join is answered, behind the others: that of the heartbeat waits for none of them.
    for (const peer of peers) await heard(peer, refs.at(-1) ?? '')
    const asked = hall.asked - askedBefore
    const sent = hall.server.stats().bytesSent - before
    assert.ok(state > 50_000, `a state of ${state} bytes`)
    assert.ok(asked <= 6 * PEERS, `${asked} of ${PEERS * each} joins were asked about`)
    assert.ok(sent <= 6 * PEERS * state, `${sent} bytes went out`)
    crowd.write(heartbeat)
    await heard(crowd, 'alive')
  })

  test('a peer that reads nothing is asked for no more than its buffers take', async () => {
    const joinRate = { burst: 1_000 }
    await using hall = await Hall.set(({ accept }) => void accept(), { joinRate })
    await hall.crowd()
    const entered = once(hall.server, 'client')
    const peer = await hall.enter()
    const client = await entered
    for (let count = 0; count < 1_000; count++) {
      peer.write(joining(`${count}`, 'room:1'))
      await turn()
    }
    assert.ok(client.isOpen)
    assert.ok(client.bufferedAmount < 250_000, `${client.bufferedAmount} bytes wait`)
    assert.ok(hall.asked < 1_000, `${hall.asked} were asked`)
  })

  test(`a member that joins anew costs its own key, not those of ${MEMBERS}`, async (t) => {
    await using hall = await Hall.set(({ accept }) => void accept())
    await hall.crowd()
    const peer = await hall.enter()
    const again = async (count: number): Promise<void> => {
      for (let index = 0; index < count; index++) {
        peer.write(joining(`${index}`, 'room:1', { keys: ['own'] }))
        await heard(peer, 'presence_state')
      }
    }
    await again(1)
    let written = 0
    const stringify = JSON.stringify
    t.mock.method(JSON, 'stringify', (...values: Parameters<typeof JSON.stringify>) => {
      const text = stringify(...values)
      written += text.length
      return text
    })
    await again(50)
    t.mock.restoreAll()
    assert.ok(written < 50 * 1_000, `${written} characters were written for 50 joins`)
  })

  test('a peer at full speed has a burst of joins, and then 20 a second', async () => {
    await using hall = await Hall.set(({ accept }) => void accept())
    const peer = await hall.enter()
    const start = performance.now()
    let left = 0
    while (left < 1_000) {
      for (let count = 0; count < 50; count++) {
        const topic = `room:${left++ % 100}`
        peer.write(joining(`${left}`, topic))
      }
      peer.write(heartbeat)
      await heard(peer, 'alive')
    }
    const seconds = (performance.now() - start) / 1_000
    // The clock of a bucket begins before `start`, and a timer may come a millisecond early.
    const most = 105 + 20 * seconds
    assert.ok(hall.asked >= 100 && hall.asked <= most, `${hall.asked} were asked`)
  })

  test(`${LISTENERS} joins of one topic have one listener at once`, async () => {
    const requests: JoinRequest[] = []
    let [now, most] = [0, 0]
    await using hall = await Hall.set(async (request) => {
      now += 1
      most = Math.max(most, now)
      requests.push(request)
      await once(request.channel, 'close').catch(() => {})
      now -= 1
    })
    const peer = await hall.enter()
    const all = Array.from({ length: LISTENERS }, (_, index) => joining(`${index}`, 'room:1'))
    peer.write(Buffer.concat([...all, heartbeat]))
    await heard(peer, 'alive')
    assert.equal(requests.length, 1)
    requests[0]?.accept()
    await turns()
    assert.equal(requests.length, 2)
    requests[1]?.accept()
    peer.write(heartbeat)
    await heard(peer, `${LISTENERS - 1}`)
    assert.ok(most <= 2, `${most} listeners at once`)
  })

  test(`${LISTENERS} topics joined and left have 100 listeners at once`, async () => {
    let now = 0
    await using hall = await Hall.set(async () => {
      now += 1
      await new Promise(() => {})
    })
    const peer = await hall.enter()
    for (let at = 0; at < LISTENERS; at += 500) {
      const frames = Array.from({ length: 500 }, (_, index) => [
        joining('1', `room:${at + index}`),
        leaving('1', `room:${at + index}`),
      ])
      peer.write(Buffer.concat([...frames.flat(), heartbeat]))
      await heard(peer, 'alive')
    }
    assert.equal(now, 100)
  })
})
