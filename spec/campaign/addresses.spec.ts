import assert from 'node:assert/strict'
import { test } from 'node:test'
import { listen, WebsocketServer, type ServerOptions } from 'simplewebsockets'
import { certificate, handshake, RawPeer } from '../support/rawpeer.ts'
import { turn } from '../support/scene.ts'

/** Asks for an upgrade through a proxy that adds a header of its own behind all others. */
async function statusBehind(
  port: number,
  forwardedFor: string,
  filling = '',
): Promise<[number, RawPeer]> {
  const peer = await RawPeer.connect(port)
  const own = `X-Forwarded-For: ${forwardedFor}\r\n`
  peer.write(handshake().replace('\r\n\r\n', `\r\n${filling}${own}\r\n`))
  return [(await peer.answer()).status, peer]
}

test('2,000 headers of a peer push no address of a proxy out: they get 431, not a place', async () => {
  await using server = new WebsocketServer({ trustProxy: 1, maxConnectionsPerAddress: 1 })
  const { port } = await server.serve(0)
  const peers: RawPeer[] = []
  const filling = (address: string): string =>
    `X-Forwarded-For: ${address}\r\n${'a:\r\n'.repeat(2_000)}`
  for (const [address, more, expected] of [
    ['203.0.113.7', '', 101],
    ['203.0.113.7', '', 429],
    ['203.0.113.7', filling('198.51.100.1'), 431],
    ['203.0.113.7', filling('198.51.100.2'), 431],
  ] as const) {
    const [status, peer] = await statusBehind(port, address, more)
    peers.push(peer)
    assert.equal(status, expected)
  }
  assert.equal(server.clients.size, 1)
  for (const { tcp } of peers) tcp.destroy()
})

for (const [what, address] of [
  ['a port', (n: number) => `203.0.113.7:${50_000 + n}`],
  ['a port, in quotes', (n: number) => `"203.0.113.7:${50_000 + n}"`],
  ['brackets and a port', (n: number) => `[2001:db8::1]:${50_000 + n}`],
  ['an address of its IPv6 network', (n: number) => `2001:db8::${n}`],
  ['another spelling', (n: number) => (n === 0 ? '2001:db8::1' : '2001:0DB8:0::0001')],
  ['IPv4 in IPv6', (n: number) => (n === 0 ? '203.0.113.7' : '::ffff:203.0.113.7')],
] as const) {
  test(`a proxy that tells each connection with ${what} makes no address of its own of it`, async () => {
    await using server = new WebsocketServer({ trustProxy: 1, maxConnectionsPerAddress: 1 })
    const { port } = await server.serve(0)
    const [first, one] = await statusBehind(port, address(0))
    const [second, two] = await statusBehind(port, address(1))
    assert.deepEqual([first, second], [101, 429])
    for (const { tcp } of [one, two]) tcp.destroy()
  })
}

const MAX = 5
const MANY = 40

/** Waits until so many of the sockets have been cut. */
async function cut(peers: readonly RawPeer[], count: number): Promise<void> {
  for (const { tcp } of peers) tcp.resume()
  while (peers.filter(({ tcp }) => tcp.closed).length < count) await turn()
}

for (const [what, options, words] of [
  ['sends nothing', {}, ''],
  ['sends half a request', {}, 'GET / HTTP/1.1\r\nHost:'],
  ['begins no TLS', { tls: certificate() }, ''],
] as [string, ServerOptions, string][]) {
  test(`of ${MANY} sockets of an address that ${what}, ${MAX} stay where it may have ${MAX} connections`, async () => {
    await using server = new WebsocketServer({ maxConnectionsPerAddress: MAX, ...options })
    const told: string[] = []
    listen(server, 'peerError', ({ reason, status }) => void told.push(`${status} ${reason}`))
    const { port } = await server.serve(0)
    const peers: RawPeer[] = []
    for (let count = 0; count < MANY; count++) {
      const peer = await RawPeer.connect(port)
      peer.write(words)
      peers.push(peer)
    }
    await cut(peers, MANY - MAX)
    for (let turns = 0; turns < 10; turns++) await turn()
    assert.equal(peers.filter(({ tcp }) => !tcp.closed).length, MAX)
    assert.deepEqual(told, Array<string>(MANY - MAX).fill('429 maxConnectionsPerAddress'))
    for (const { tcp } of peers) tcp.destroy()
  })
}

test('sockets that send nothing count among the connections of their address, until they go', async () => {
  await using server = new WebsocketServer({ maxConnectionsPerAddress: 2 })
  const { port } = await server.serve(0)
  const inside = await RawPeer.enter(port)
  const silent = await RawPeer.connect(port)
  const refused = await RawPeer.knock(port)
  assert.equal((await refused.answer()).status, 429)
  await silent.reset()
  await refused.gone()
  for (;;) {
    // The server learns of a reset when its kernel says so.
    const peer = await RawPeer.knock(port)
    const { status } = await peer.answer()
    peer.tcp.destroy()
    if (status === 101) break
    assert.equal(status, 429)
  }
  inside.tcp.destroy()
})

for (const [what, options, scheme] of [
  ['plain', {}, { tls: false }],
  ['TLS', { tls: certificate() }, { tls: true }],
] as const) {
  test(`over ${what} as many connections as may be come in at once, and leave no count behind`, async () => {
    await using server = new WebsocketServer({ maxConnectionsPerAddress: MAX, ...options })
    const { port } = await server.serve(0)
    for (let round = 0; round < 3; round++) {
      const peers = await Promise.all(
        Array.from({ length: MAX }, () => RawPeer.connect(port, scheme)),
      )
      // One after the other: a silent socket counts, so the first ones make room for no others.
      for (const peer of peers) {
        peer.write(handshake())
        assert.equal((await peer.answer()).status, 101)
      }
      const late = await RawPeer.connect(port, scheme)
      late.write(handshake())
      assert.equal((await late.answer()).status, 429)
      for (const { tcp } of [...peers, late]) tcp.destroy()
      while (server.clients.size > 0) await turn()
    }
  })
}

test('where a proxy is trusted its silent sockets do not count', async () => {
  await using server = new WebsocketServer({ maxConnectionsPerAddress: 1, trustProxy: 1 })
  const { port } = await server.serve(0)
  const silent = await Promise.all(Array.from({ length: 10 }, () => RawPeer.connect(port)))
  const [status, peer] = await statusBehind(port, '203.0.113.7')
  assert.equal(status, 101)
  for (const { tcp } of [...silent, peer]) tcp.destroy()
})
