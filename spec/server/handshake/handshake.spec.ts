import assert from 'node:assert/strict'
import { createServer, type IncomingMessage } from 'node:http'
import { once as onceEmitted } from 'node:events'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { PeerConnectError, RequestDetails, type ServerOptions } from 'simplewebsockets'
import {
  checkHandshake,
  checkAdmission,
  parseRequest,
  type HandshakeContext,
} from '../../../lib/server/handshake/handshake.ts'
import { runAuthorize } from '../../../lib/server/handshake/authorize.ts'
import { resolveServer } from '../../../lib/options/server.ts'
import { RawPeer, type Shake } from '../../support/rawpeer.ts'

/** Returns the handshake of a peer with a server of such options. */
function knock(
  options: ServerOptions = {},
  headers: Record<string, string> = {},
  counts: Partial<Pick<HandshakeContext, 'connections' | 'connectionsOfAddress'>> = {},
): HandshakeContext {
  const request = new RequestDetails({
    url: '/',
    rawHeaders: Object.entries(headers).flat(),
    remoteAddress: '127.0.0.1',
  })
  const settings = resolveServer(options)
  const denial = { status: 401 }
  const binding = { address: '', name: '' }
  return {
    ...{ request, settings, binding, denial },
    ...{ incoming: undefined, timeLeft: undefined, connections: 0, connectionsOfAddress: 0 },
    ...counts,
  }
}

/** Lets a peer in as a server does: by the rules first, and then by `authorize`. */
async function admit(context: HandshakeContext): Promise<{}> {
  checkAdmission(context)
  const { authorize } = context.settings
  return authorize ? runAuthorize(authorize, context, new AbortController()) : {}
}

/** Resolves with the request that a server gets to see. */
async function seen(shake: Shake = {}): Promise<IncomingMessage> {
  const http = createServer().listen(0, 'localhost')
  await onceEmitted(http, 'listening')
  const upgraded = onceEmitted(http, 'upgrade')
  const peer = await RawPeer.knock((http.address() as AddressInfo).port, shake)
  const [request] = (await upgraded) as [IncomingMessage]
  http.close()
  peer.tcp.destroy()
  return request
}

const NODE = { maxHeadersCount: null }

const status = (expected: number) => (error: unknown) =>
  error instanceof PeerConnectError && error.status === expected

test('without rules every peer is let in, with a context of its own', async () => {
  const contexts = [await admit(knock()), await admit(knock())]
  assert.deepEqual(contexts, [{}, {}])
  assert.notEqual(contexts[0], contexts[1])
})

test('the first rule that minds decides, and authorize is not asked', async () => {
  let asked = 0
  const options = {
    maxConnections: 1,
    maxConnectionsPerAddress: 1,
    authorize: () => {
      asked++
      return true
    },
  }
  const counts = { connections: 1, connectionsOfAddress: 1 }
  const foreign = { Origin: 'https://elsewhere.example' }
  await assert.rejects(admit(knock(options, foreign, counts)), status(403))
  await assert.rejects(admit(knock(options, {}, counts)), status(503))
  await assert.rejects(admit(knock(options, {}, { connectionsOfAddress: 1 })), status(429))
  assert.equal(asked, 0)
  assert.deepEqual(await admit(knock(options)), {})
  assert.equal(asked, 1)
})

test('a limit is how many there may be', async () => {
  const options = { maxConnections: 2, maxConnectionsPerAddress: 2 }
  await admit(knock(options, {}, { connections: 1, connectionsOfAddress: 1 }))
  await assert.rejects(admit(knock(options, {}, { connections: 2 })), status(503))
  await assert.rejects(admit(knock(options, {}, { connectionsOfAddress: 2 })), status(429))
})

test('a host and its forwarded one are believed where a proxy is trusted, and 0 proxies are none', async () => {
  const headers = {
    Host: 'inside:8080',
    Origin: 'https://example.com',
    'X-Forwarded-Host': 'example.com',
  }
  await assert.rejects(admit(knock({ trustProxy: 0 }, headers)), status(403))
  await admit(knock({ trustProxy: 1 }, headers))
})

test('of several forwarded hosts the last one counts, where proxies are trusted', async () => {
  const headers = {
    Host: 'inside:8080',
    Origin: 'https://example.com',
    'X-Forwarded-Host': 'forged.example, example.com',
  }
  await admit(knock({ trustProxy: 1 }, headers))
  await assert.rejects(admit(knock({}, headers)), status(403))
  const forged = { ...headers, Origin: 'https://forged.example' }
  await assert.rejects(admit(knock({ trustProxy: 1 }, forged)), status(403))
})

for (const [target, path, params] of [
  ['/a/b', '/a/:x', { x: 'b' }],
  ['/a/b?c', undefined, {}],
  ['http://host/a/b', '/a/:x', { x: 'b' }],
] as const) {
  test(`a request for ${target} is received where ${path ?? 'everything'} is served`, () => {
    const source = { url: target, rawHeaders: [], remoteAddress: '' }
    const { request } = parseRequest(source, resolveServer({ path }))
    assert.deepEqual({ ...request.params }, params)
  })
}

test('a path that makes no sense is 400, one that is not served 404', () => {
  const source = { url: '/%', rawHeaders: [], remoteAddress: '' }
  assert.throws(() => parseRequest(source, resolveServer()), status(400))
  assert.throws(
    () => parseRequest({ ...source, url: '/b' }, resolveServer({ path: '/a' })),
    status(404),
  )
})

for (const [what, shake, expected] of [
  ['an honest one', {}, undefined],
  ['one in capitals', { headers: { Upgrade: 'WebSocket' } }, undefined],
  ['a POST', { method: 'POST' }, 405],
  ['HTTP/1.0', { version: '1.0' }, 505],
  ['h2c', { headers: { Upgrade: 'h2c' } }, 400],
  ['two upgrades', { headers: { Upgrade: 'websocket, h2c' } }, 400],
  ['version 8', { headers: { 'Sec-WebSocket-Version': '8' } }, 426],
  ['no version', { headers: { 'Sec-WebSocket-Version': undefined } }, 426],
  ['no host', { headers: { Host: undefined } }, 400],
  ['two hosts', { headers: { host: 'elsewhere' } }, 400],
] as [string, Shake, number | undefined][]) {
  test(`of the handshakes ${what} is ${expected ?? 'let through'}`, async () => {
    const request = await seen(shake)
    if (expected === undefined) checkHandshake(request, NODE)
    else assert.throws(() => checkHandshake(request, NODE), status(expected))
  })
}

for (const [maxHeadersCount, count, expected] of [
  [undefined, 999, undefined],
  [null, 1_000, 431],
  [50, 49, undefined],
  [50, 50, 431],
  [0, 3_000, undefined],
] as const) {
  test(`of a request with ${count} headers, where Node keeps ${String(maxHeadersCount)}, the status is ${expected ?? 101}`, async () => {
    const request = await seen()
    const more = count - request.rawHeaders.length / 2
    request.rawHeaders.push(...Array<string>(2 * more).fill('a'))
    const check = (): void => checkHandshake(request, { maxHeadersCount })
    if (expected === undefined) check()
    else assert.throws(check, status(expected))
  })
}

for (const forbidden of ['\0', '\r', '\n']) {
  test(`a request with ${JSON.stringify(forbidden)} in a header gets 400`, async () => {
    const request = await seen()
    request.rawHeaders.push('X-Odd', `a${forbidden}Cookie`)
    assert.throws(() => checkHandshake(request, NODE), status(400))
  })
}
