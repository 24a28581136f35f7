import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once as onceOf } from 'node:events'
import { createInterface } from 'node:readline'
import { test, type TestOptions } from 'node:test'
import { fileURLToPath } from 'node:url'
import { listen, once, WebsocketClient, type WebsocketConnection } from 'simplewebsockets'
import { ChannelClient } from 'simplewebsockets/channels'
import { RunningEngine, without, type EngineName } from '../support/engines.ts'
import { sparePort } from '../support/ports.ts'
import { run } from '../samples/program.ts'

const stageOf = (name: EngineName): TestOptions => ({ skip: without(name), timeout: 60_000 })

const root = fileURLToPath(new URL('../..', import.meta.url))

test(
  'processes on one port are one server: each visitor is served by one, and hears all',
  stageOf('redis'),
  async (t) => {
    const [PORT, REDIS_PORT] = [String(await sparePort()), String(await sparePort())]
    const options = ['--conditions=source', '--import', 'tsx', 'samples/cluster/server.ts']
    const child = spawn(process.execPath, options, {
      cwd: root,
      env: { ...process.env, PORT, REDIS_PORT, NODES: '3' },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const ended = onceOf(child, 'exit')
    t.after(async () => {
      child.kill('SIGTERM')
      await ended
    })
    const lines: string[] = []
    for await (const line of createInterface(child.stdout)) if (lines.push(line) === 13) break
    assert.equal(lines[0], `listening on ws://localhost:${PORT}, with 3 processes`)
    const served = lines.flatMap((line) => /node (\d) serves you/.exec(line)?.[1] ?? [])
    assert.equal(served.length, 6)
    assert.deepEqual([...new Set(served)].sort(), ['1', '2', '3'])
    const greeted = lines.filter((line) => line.includes('hello from visitor 1 (by node'))
    assert.deepEqual(
      greeted.map((line) => line.slice(0, 9)).sort(),
      [1, 2, 3, 4, 5, 6].map((visitor) => `visitor ${visitor}`),
    )
  },
)

for (const name of ['redis', 'nats'] as const) {
  test(`two programs over ${name} are one server`, stageOf(name), async (t) => {
    const { url } = await RunningEngine.start(t, name)
    const enter = async (): Promise<WebsocketConnection> => {
      const program = run(t, `backplanes/${name}`, { [name.toUpperCase()]: url })
      const lines = [await program.line(), await program.line()].sort()
      assert.equal(lines[1], 'the other nodes are up')
      const client = new WebsocketClient()
      t.after(() => client.close())
      return client.open(lines[0]?.replace('listening on ', '') ?? '')
    }
    const [here, there] = [await enter(), await enter()]
    let said: unknown
    listen(there, 'message', (message) => (said = message))
    while (said === undefined) {
      here.send('hello') // again, until the other node has told the engine of its member
      await here.ping()
    }
    assert.equal(said, 'hello')
  })
}

test('a room in Redis is whole for a client after a restart', stageOf('redis'), async (t) => {
  const { url } = await RunningEngine.start(t, 'redis')
  const server = run(t, 'replay/redis', { REDIS: url })
  const PORT = String(await server.port())
  const client = new ChannelClient()
  t.after(() => client.close())
  void client.open(`ws://localhost:${PORT}/socket`)
  const room = client.channel('room:1')
  assert.deepEqual(await room.join(), {})
  const said = once(room.messages, 'said')
  await room.push('say', { body: 'hello' })
  assert.deepEqual((await said).payload, { body: 'hello' })
  const back = once(room, 'join')
  server.stop()
  await server.ended
  await run(t, 'replay/redis', { REDIS: url, PORT }).port()
  assert.deepEqual(await back, { recovered: true })
})
