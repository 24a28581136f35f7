const assert = require('node:assert/strict')
const { listen, once, WebsocketServer, WebsocketClient } = require('simplewebsockets')
const { ChannelServer, ChannelClient } = require('simplewebsockets/channels')
const { pair, link } = require('simplewebsockets/testing')
const { version } = require('simplewebsockets/package.json')

async function main() {
  const [near, far] = pair()
  far.send('hello')
  assert.equal(await once(near, 'message'), 'hello')

  const server = new WebsocketServer()
  const topic = new ChannelServer(server).topic('room:*')
  listen(topic, 'join', ({ payload, accept }) => accept(payload))
  const client = new ChannelClient()
  const linked = link(server, client, 'ws://localhost/')
  assert.equal(
    await client
      .channel('room:1', { name: 'ann' })
      .join()
      .then(({ name }) => name),
    'ann',
  )
  await linked
  await client.close()
  assert.equal(new WebsocketClient().isOpen, false)
  assert.match(version, /^\d+\.\d+\.\d+/)
  console.log('every entry works')
}

main()
