import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once as onceEmitted } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import {
  ConnectError,
  listen,
  once,
  WebsocketClient,
  WebsocketServer,
  type ServerOptions,
  type WebsocketConnection,
} from 'simplewebsockets'
import { certificate, handshake, RawPeer } from '../support/rawpeer.ts'
import { missing } from '../support/missing.ts'

const CURE = 'no nginx here: get one with `apt-get install nginx`, or set NGINX to where yours is'

const { NGINX = '/usr/sbin/nginx' } = process.env
const page = (name: string): string =>
  readFileSync(new URL(`../../docs/how-to/${name}.md`, import.meta.url), 'utf8')
const advisedBy = (name: string): string => /```nginx\n(.*?)```/s.exec(page(name))?.[1] ?? ''

/** Returns a configuration without its certificate, for tests that are not about TLS. */
const withoutTls = (config: string): string =>
  config.replace('listen 443 ssl', 'listen 443').replace(/^ *ssl_.*\n/gm, '')

/** Starts a server, and an nginx set up as the docs say before it, until the end of the test. */
async function behindNginx(
  context: TestContext,
  options: ServerOptions,
  change: (config: string, folder: string) => string = (config) => config,
): Promise<{ server: WebsocketServer; own: number; port: number } | undefined> {
  if (!existsSync(NGINX)) {
    context.skip(missing(CURE))
    return undefined
  }
  const server = new WebsocketServer({ closeTimeout: 500, ...options })
  listen(server, 'client', (client) => {
    listen(client, 'message', (message) => void client.send(message))
  })
  const own = await server.serve(0, '127.0.0.1')
  const port = await freePort()
  const folder = mkdtempSync(join(tmpdir(), 'nginx-'))
  const changed = change(advisedBy('proxies'), folder)
  const site = (changed.includes(folder) ? changed : withoutTls(changed))
    .replace('listen 443', `listen 127.0.0.1:${port}`)
    .replace('127.0.0.1:8080', `127.0.0.1:${own.port}`)
  const places = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${folder}/${name};`,
  )
  writeFileSync(
    join(folder, 'nginx.conf'),
    `daemon off; master_process off; pid ${folder}/pid; error_log stderr warn;
    events {} http { access_log off; ${places.join(' ')} ${site} }`,
  )
  const nginx = spawn(NGINX, ['-p', folder, '-e', 'stderr', '-c', join(folder, 'nginx.conf')])
  const ended = onceEmitted(nginx, 'exit')
  let complaints = ''
  nginx.stderr.on('data', (text: Buffer) => (complaints += text.toString()))
  context.after(async () => {
    await server.close()
    nginx.kill()
    await ended
    rmSync(folder, { recursive: true })
  })
  while (!(await listens(port))) {
    if (nginx.exitCode !== null) throw new Error(`nginx ended: ${complaints}`)
  }
  return { server, own: own.port, port }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await onceEmitted(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await onceEmitted(server, 'close')
  return port
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const tcp = connect(port, '127.0.0.1')
    tcp.once('connect', () => resolve(true)).once('error', () => resolve(false))
    tcp.once('connect', () => tcp.destroy())
  })
}

test('behind nginx an upgrade passes, and so do texts, bytes, and both ways to close', async (t) => {
  const proxied = await behindNginx(t, {})
  if (!proxied) return
  const { server, port } = proxied
  const one = await new WebsocketClient().open(`ws://127.0.0.1:${port}/any?x=1`)
  const [there] = server.clients
  assert.ok(there)
  assert.equal(there.request.url, '/any?x=1')
  const bytes = new Uint8Array(1024 * 1024).fill(7)
  for (const data of ['hello', 'ü'.repeat(50_000), bytes]) {
    one.send(data)
    assert.deepEqual(await once(one, 'message'), data)
  }
  assert.ok((await one.ping()) >= 0)
  const closed = once(there, 'close')
  await one.close(4000, 'from here')
  assert.deepEqual(await closed, { code: 4000, description: 'from here' })
  const other = await new WebsocketClient().open(`ws://127.0.0.1:${port}`)
  void server.close()
  assert.equal((await once(other, 'close')).code, 1001)
})

test('behind nginx a quiet connection is cut at its timeout, and one with keepalive stays', async (t) => {
  const soon = (config: string): string => config.replaceAll('_timeout 60s', '_timeout 1s')
  const cut = await behindNginx(t, { keepaliveTimeout: false }, soon)
  const kept = await behindNginx(t, { keepaliveTimeout: 300 }, soon)
  if (!cut || !kept) return
  const client = new WebsocketClient({ keepaliveTimeout: false })
  const quiet = await client.open(`ws://127.0.0.1:${cut.port}`)
  const [there] = cut.server.clients
  assert.ok(there)
  for (const end of [quiet, there]) assert.equal((await once(end, 'close')).code, 1006)
  const alive = await client.open(`ws://127.0.0.1:${kept.port}`)
  const pings = listen(alive, 'ping')
  const start = performance.now()
  while (performance.now() - start < 2_000) await pings.next()
  alive.send('still here')
  assert.equal(await once(alive, 'message'), 'still here')
  await alive.close()
})

for (const [trustProxy, address] of [
  [false, '127.0.0.1'],
  [1, '127.0.0.2'],
] as const) {
  test(`behind nginx with trustProxy ${trustProxy} a peer is at ${address}, whatever it says`, async (t) => {
    const proxied = await behindNginx(t, { trustProxy, maxConnectionsPerAddress: 2 })
    if (!proxied) return
    const { server, port } = proxied
    const statuses: number[] = []
    for (const headers of [
      {},
      { 'X-Forwarded-For': '6.6.6.6' },
      { 'X-Forwarded-For': '7.7.7.7' },
    ]) {
      const tcp = connect({ port, host: '127.0.0.1', localAddress: '127.0.0.2' })
      const peer = new RawPeer(tcp)
      t.after(() => tcp.destroy())
      peer.write(handshake({ headers }))
      statuses.push((await peer.answer()).status)
    }
    assert.deepEqual(statuses, [101, 101, 429])
    const seen = [...server.clients].map(({ request }) => request.remoteAddress)
    assert.deepEqual(seen, [address, address])
    const elsewhere = await RawPeer.knock(port)
    t.after(() => elsewhere.tcp.destroy())
    assert.equal((await elsewhere.answer()).status, trustProxy === false ? 429 : 101)
  })
}

test('behind nginx pages of the same host may connect, and others get 403', async (t) => {
  const proxied = await behindNginx(t, { trustProxy: 1 })
  if (!proxied) return
  const { server, port } = proxied
  const Host = `example.com:${port}`
  for (const [headers, status] of [
    [{ Host, Origin: `http://${Host}` }, 101],
    [{ Host, Origin: `https://${Host}` }, 101],
    [{ Host, Origin: 'https://example.com' }, 403],
    [{ Host, Origin: 'https://evil.com' }, 403],
    [{ Host, Origin: 'https://evil.com', 'X-Forwarded-Host': 'evil.com' }, 403],
  ] as const) {
    const peer = await RawPeer.connect(port, { host: '127.0.0.1' })
    t.after(() => peer.tcp.destroy())
    peer.write(handshake({ headers }))
    assert.equal((await peer.answer()).status, status, JSON.stringify(headers))
  }
  assert.equal(server.stats().refusals.origin, 3)
})

test('behind nginx a server that is away is a 502, and the client comes back when it is there', async (t) => {
  const proxied = await behindNginx(t, {})
  if (!proxied) return
  const { server, port, own } = proxied
  await server.close()
  const client = new WebsocketClient({ reconnect: { delay: () => 20 } })
  t.after(() => client.close())
  const failed = once(client, 'connectError')
  const opening = client.open(`ws://127.0.0.1:${port}`)
  const error = await failed
  assert.ok(error instanceof ConnectError)
  assert.equal(error.status, 502)
  await server.serve(own, '127.0.0.1')
  const connection = await opening
  connection.send('back again')
  assert.equal(await once(connection, 'message'), 'back again')
})

test('behind nginx with TLS its host is served, to pages of both schemes, and another one gets 421', async (t) => {
  const print = t.mock.method(console, 'error', () => {})
  const { cert, key } = certificate()
  const withTls = (config: string, folder: string): string => {
    writeFileSync(join(folder, 'cert.pem'), cert)
    writeFileSync(join(folder, 'key.pem'), key)
    return config
      .replace(/ssl_certificate .*;/, `ssl_certificate ${folder}/cert.pem;`)
      .replace(/ssl_certificate_key .*;/, `ssl_certificate_key ${folder}/key.pem;`)
  }
  const proxied = await behindNginx(t, { trustProxy: 1, hosts: ['localhost'] }, withTls)
  if (!proxied) return
  const { port, server } = proxied
  const open = (host: string, origin: string): Promise<WebsocketConnection> => {
    const client = new WebsocketClient({
      tls: { ca: cert, servername: 'localhost' },
      headers: { host, origin },
    })
    return client.open(`wss://127.0.0.1:${port}`)
  }
  const host = `localhost:${port}`
  for (const origin of [`https://${host}`, `http://${host}`]) {
    const connection = await open(host, origin)
    connection.send('in private')
    assert.equal(await once(connection, 'message'), 'in private')
  }
  await assert.rejects(open('evil.com', 'https://evil.com'), { status: 421 })
  assert.equal(server.stats().refusals.host, 1)
  assert.equal(print.mock.callCount(), 1)
})

test('behind nginx a handshake that one process refuses, or is away for, goes to the next one', async (t) => {
  const other = new WebsocketServer({ closeTimeout: 500 })
  t.after(() => other.close())
  const { port: otherPort } = await other.serve(0, '127.0.0.1')
  const advised = advisedBy('deploys')
  const [upstream = ''] = /^upstream .*?^\}/ms.exec(advised) ?? []
  const [pass = ''] = /proxy_pass .*http_503;/s.exec(advised) ?? []
  const proxied = await behindNginx(
    t,
    {},
    (config) =>
      upstream.replace('127.0.0.1:8081', `127.0.0.1:${otherPort}`) +
      config.replace(/proxy_pass .*;/, pass),
  )
  if (!proxied) return
  const { server, port, own } = proxied
  const enter = async (count: number): Promise<void> => {
    for (let entered = 0; entered < count; entered++) {
      await new WebsocketClient().open(`ws://127.0.0.1:${port}`)
    }
  }
  await enter(4)
  assert.deepEqual([server.clients.size, other.clients.size], [2, 2])
  const closing = server.close({ within: 60_000, batch: 1 })
  await enter(4)
  assert.equal(other.clients.size, 6)
  assert.ok(server.stats().refusals.closing > 0)
  void server.close()
  await closing
  await enter(2)
  assert.equal(other.clients.size, 8)
  await server.serve(own, '127.0.0.1')
  await enter(2)
  assert.ok(server.clients.size > 0)
})
