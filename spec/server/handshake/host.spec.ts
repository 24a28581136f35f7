import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  ConnectError,
  WebsocketClient,
  WebsocketServer,
  type ServerOptions,
} from 'simplewebsockets'
import { link } from 'simplewebsockets/testing'
import {
  hostAllowed,
  hostCure,
  isHostPattern,
  isLocalHost,
  isLoopback,
  type Binding,
} from '../../../lib/server/handshake/host.ts'
import { printedBy } from '../../support/printed.ts'

for (const [pattern, expected] of [
  ['example.com', true],
  ['EXAMPLE.com', true],
  ['*.example.com', true],
  ['my_host', true],
  ['192.0.2.1', true],
  ['[::1]', true],
  ['example.com:8080', false],
  ['https://example.com', false],
  ['.example.com ', false],
  ['example.com/', false],
  ['::1', false],
  ['*', false],
  ['', false],
  [5, false],
] as [unknown, boolean][]) {
  test(`${JSON.stringify(pattern)} may ${expected ? '' : 'not '}stand in \`hosts\``, () => {
    assert.equal(isHostPattern(pattern), expected)
  })
}

for (const [address, expected] of [
  ['127.0.0.1', true],
  ['127.1.2.3', true],
  ['::1', true],
  ['::ffff:127.0.0.1', true],
  ['0.0.0.0', false],
  ['::', false],
  ['192.0.2.1', false],
  ['127.0.0.1.evil.example', false],
  ['/tmp/socket', false],
  ['', false],
] as const) {
  test(`the address "${address}" is ${expected ? '' : 'not '}of this machine alone`, () => {
    assert.equal(isLoopback(address), expected)
  })
}

for (const [host, allowed, expected] of [
  ['example.com', ['example.com'], true],
  ['EXAMPLE.COM:8080', ['example.com'], true],
  ['example.com', ['Example.com'], true],
  ['a.example.com', ['example.com'], false],
  ['a.example.com', ['*.example.com'], true],
  ['a.b.example.com:1', ['*.example.com'], true],
  ['example.com', ['*.example.com'], false],
  ['evilexample.com', ['*.example.com'], false],
  ['example.com.', ['example.com'], false],
  ['example.com@evil.example', ['example.com'], false],
  ['example.com:80:80', ['example.com'], false],
  ['[2001:DB8:0::1]:8080', ['[2001:db8::1]'], true],
  ['[2001:db8::1]', ['[2001:0db8:0:0:0:0:0:1]'], true],
  ['[::1', ['[::1]'], false],
  ['', ['example.com'], false],
  ['example.com', [], false],
  ['evil.example', '*', true],
] as [string, string[] | '*', boolean][]) {
  test(`the host "${host}" is ${expected ? '' : 'not '}one of ${JSON.stringify(allowed)}`, () => {
    assert.equal(hostAllowed(host, allowed), expected)
  })
}

const LOOPBACK: Binding = { address: '127.0.0.1', name: 'My.test' }

for (const [host, expected] of [
  ['localhost', true],
  ['LOCALHOST:8080', true],
  ['chat.localhost:8080', true],
  ['127.0.0.1:8080', true],
  ['127.9.9.9', true],
  ['[::1]:8080', true],
  ['[0:0:0:0:0:0:0:1]', true],
  ['my.test:8080', true],
  ['evil.example:8080', false],
  ['localhost.evil.example', false],
  ['evillocalhost', false],
  ['127.0.0.1.evil.example', false],
  ['0.0.0.0:8080', false],
  ['[::]', false],
  ['192.168.0.1', false],
  ['', false],
] as const) {
  test(`the host "${host}" is ${expected ? '' : 'not '}one that only this machine resolves`, () => {
    assert.equal(isLocalHost(host, LOOPBACK), expected)
  })
}

test('a server without `serve` has no name of its own', () => {
  assert.equal(isLocalHost('', { address: '127.0.0.1', name: '' }), false)
})

test('the cure names the host without its port, and none that no entry can let in', () => {
  assert.match(
    hostCure('evil.example:1', LOOPBACK, undefined) ?? '',
    /\{ hosts: \['evil.example'\] \}/,
  )
  assert.match(hostCure('evil.example:1', LOOPBACK, []) ?? '', /add 'evil.example' to `hosts`\.$/)
  for (const host of ['', 'a b', "x'y", 'x'.repeat(301)]) {
    assert.equal(hostCure(host, LOOPBACK, undefined), undefined)
  }
})

/** Asks a server for a url, and returns the status of the answer. */
async function statusOf(options: ServerOptions, url?: string, origin?: string): Promise<number> {
  const server = new WebsocketServer(options)
  const client = new WebsocketClient({ headers: origin === undefined ? {} : { origin } })
  return link(server, client, url).then(
    () => 101,
    (error: unknown) => (error instanceof ConnectError ? (error.status ?? 0) : 0),
  )
}

test('a server that listens nowhere serves every host, unless `hosts` says which', async () => {
  assert.equal(await statusOf({}, 'ws://any.example/'), 101)
  assert.equal(await statusOf({ hosts: ['a.example'] }, 'ws://a.example:8080/'), 101)
  await printedBy(async () => {
    assert.equal(await statusOf({ hosts: ['a.example'] }, 'ws://b.example/'), 421)
    assert.equal(await statusOf({ hosts: [] }), 421)
  })
})

test('the host is checked before the origin', async () => {
  await printedBy(async () => {
    const options = { hosts: ['a.example'] }
    assert.equal(await statusOf(options, 'ws://b.example/', 'https://c.example'), 421)
    assert.equal(await statusOf(options, 'ws://a.example/', 'https://c.example'), 403)
  })
})
