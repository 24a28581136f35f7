import assert from 'node:assert/strict'
import { once as onceEmitted } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { test } from 'node:test'
import { addUpgradeRoute, type UpgradeRoute } from '../../../lib/server/http/upgrade-router.ts'
import { RawPeer, type Shake } from '../../support/rawpeer.ts'

/** Listens with an http server that serves nothing by itself. */
async function started(): Promise<{
  http: Server
  stop: () => void
  ask: (shake: Shake) => Promise<number>
}> {
  const http = createServer().listen(0, 'localhost')
  await onceEmitted(http, 'listening')
  const { port } = http.address() as AddressInfo
  const ask = async (shake: Shake): Promise<number> => {
    const peer = await RawPeer.knock(port, shake)
    const { status } = await peer.answer()
    await peer.gone()
    return status
  }
  const stop = (): void => {
    http.close()
    http.closeAllConnections()
  }
  return { http, stop, ask }
}

/** A route that answers with a status of its own. */
const door = (path: string | undefined, status: number): UpgradeRoute => ({
  path,
  onUpgrade: ([, tcp]) => tcp.end(`HTTP/1.1 ${status} Door\r\nConnection: close\r\n\r\n`),
})

test('each route gets the upgrades to its path, and none gets the others', async () => {
  const { http, stop, ask } = await started()
  addUpgradeRoute(http, door('/a', 291))
  addUpgradeRoute(http, door('/b/:x', 292))
  assert.equal(await ask({ target: '/a/?x' }), 291)
  assert.equal(await ask({ target: '/b/c' }), 292)
  assert.equal(await ask({ target: '/c' }), 404)
  assert.equal(await ask({ target: '/%' }), 400)
  assert.equal(http.listenerCount('upgrade'), 1)
  stop()
})

test('a route without a path gets every upgrade', async () => {
  const { http, stop, ask } = await started()
  addUpgradeRoute(http, door(undefined, 291))
  assert.equal(await ask({ target: '/any/where' }), 291)
  stop()
})

test('a path that was given back may be claimed again', async () => {
  const { http, stop, ask } = await started()
  const release = addUpgradeRoute(http, door('/a', 291))
  addUpgradeRoute(http, door('/b', 292))
  assert.throws(() => addUpgradeRoute(http, door('/a/', 293)), TypeError)
  release()
  release()
  assert.equal(await ask({ target: '/a' }), 404)
  addUpgradeRoute(http, door('/a', 293))
  assert.equal(await ask({ target: '/a' }), 293)
  stop()
})

test('when the last route has gone there is no listener for upgrades', async () => {
  const { http, stop } = await started()
  const releases = [addUpgradeRoute(http, door('/a', 291)), addUpgradeRoute(http, door('/b', 292))]
  for (const release of releases) release()
  assert.equal(http.listenerCount('upgrade'), 0)
  addUpgradeRoute(http, door(undefined, 293))()
  assert.equal(http.listenerCount('upgrade'), 0)
  stop()
})

test('an overlap names both paths', async () => {
  const { http, stop } = await started()
  addUpgradeRoute(http, door('/a/:x', 291))
  const message = (mine: string): { message: string } => ({
    message: `expected a \`path\` of its own on this http server, got ${mine} beside "/a/:x"`,
  })
  assert.throws(() => addUpgradeRoute(http, door('/a/b', 292)), message('"/a/b"'))
  assert.throws(() => addUpgradeRoute(http, door(undefined, 292)), message('every path'))
  stop()
})

test('one http server knows nothing of the routes of another', async () => {
  const [one, two] = [await started(), await started()]
  addUpgradeRoute(one.http, door('/a', 291))
  addUpgradeRoute(two.http, door('/a', 292))
  assert.equal(await one.ask({ target: '/a' }), 291)
  assert.equal(await two.ask({ target: '/a' }), 292)
  one.stop()
  two.stop()
})

test("beside another's listener only WebSockets to a claimed path are taken", async () => {
  const { http, stop, ask } = await started()
  const taken: string[] = []
  addUpgradeRoute(http, {
    path: '/a',
    onUpgrade: ([request, tcp]) => {
      taken.push(`${request.headers.upgrade} ${request.url}`)
      tcp.end('HTTP/1.1 291 Door\r\nConnection: close\r\n\r\n')
    },
  })
  http.on('upgrade', ({ url, headers }, tcp) => {
    if (url === '/a' && headers.upgrade?.toLowerCase() === 'websocket') return
    tcp.end('HTTP/1.1 299 Theirs\r\nConnection: close\r\n\r\n')
  })
  assert.equal(await ask({ target: '/a', headers: { Upgrade: 'WebSocket' } }), 291)
  assert.equal(await ask({ target: '/a', headers: { Upgrade: 'h2c' } }), 299)
  assert.equal(await ask({ target: '/b' }), 299)
  assert.equal(await ask({ target: '/%' }), 299)
  assert.deepEqual(taken, ['WebSocket /a'])
  stop()
})

test('where all upgrades are ours a route judges those to h2c, too', async () => {
  const { http, stop, ask } = await started()
  addUpgradeRoute(http, door('/a', 291))
  assert.equal(await ask({ target: '/a', headers: { Upgrade: 'h2c' } }), 291)
  assert.equal(await ask({ target: '/b', headers: { Upgrade: 'h2c' } }), 404)
  stop()
})

test('a peer that resets an upgrade that no listener takes ends no process', async () => {
  const { http, stop } = await started()
  addUpgradeRoute(http, door('/a', 291))
  const seen = new Promise<Duplex>((resolve) => {
    http.on('upgrade', (_, tcp) => resolve(tcp)) // which minds a path of its own only
  })
  const { port } = http.address() as AddressInfo
  const peer = await RawPeer.knock(port, { target: '/b' })
  const tcp = await seen
  const closed = new Promise((resolve) => tcp.once('close', resolve))
  tcp.resume()
  await peer.reset()
  await closed
  stop()
})
