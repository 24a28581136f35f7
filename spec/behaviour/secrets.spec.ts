import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { suite, test, type TestContext } from 'node:test'
import { Redis } from 'ioredis'
import { RunningEngine, without } from '../support/engines.ts'
import { planted } from '../support/planted.ts'

const PROGRAM = new URL('../support/secrets.ts', import.meta.url).pathname
const NAMESPACES = ['server', 'client', 'connection', 'backplane', 'history']

/** Returns all that the program prints with every namespace of `debug` on. */
async function printed(redisPort: number, natsPort: number): Promise<string> {
  // ioredis itself prints its commands, with their arguments, where its own namespaces are on.
  const env = { ...process.env, DEBUG: '*,-ioredis*', DEBUG_DEPTH: '10' }
  const args = ['--conditions=source', '--import', 'tsx', PROGRAM, `${redisPort}`, `${natsPort}`]
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
  let text = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (part: string) => void (text += part))
  }
  await once(child, 'close')
  return text
}

/** Starts a Redis with a password, and a user that may not publish or run scripts. */
async function startRedis(t: TestContext): Promise<RunningEngine> {
  const redis = await RunningEngine.start(t, 'redis')
  const admin = new Redis(redis.url)
  const denied = ['-publish', '-eval', '-evalsha', '-xadd', '-script']
  const password = `>${planted.redisPassword}`
  await admin.call('ACL', 'SETUSER', 'limited', 'on', password, '~*', '&*', '+@all', ...denied)
  await admin.config('SET', 'requirepass', planted.redisPassword)
  admin.disconnect()
  return redis
}

/** Returns a text as it may be printed: itself, as base64, or as the bytes of a Buffer. */
function formsOf(text: string): string[] {
  const bytes = Buffer.from(text)
  const hex = bytes.toString('hex')
  return [text, bytes.toString('base64'), hex, (hex.match(/../g) ?? []).join(' ')]
}

const skip = without('redis') || without('nats')

suite('logs', { skip, timeout: 120_000 }, () => {
  test('what is printed with all of DEBUG on has no password, token, cookie or message in it', async (t) => {
    const redis = await startRedis(t)
    const nats = await RunningEngine.start(t, 'nats', { options: ['--auth', planted.natsToken] })
    const text = await printed(redis.port, nats.port)
    assert.match(text, /^done$/m, text)
    for (const name of NAMESPACES) assert.ok(text.includes(`simplewebsockets:${name}`), name)
    for (const sign of ['WRONGPASS', 'NOPERM', 'boom', 'ECONNREFUSED', 'Authorization Violation']) {
      assert.ok(text.toLowerCase().includes(sign.toLowerCase()), `nothing failed with ${sign}`)
    }
    for (const [name, secret] of Object.entries(planted)) {
      for (const form of [...formsOf(secret), encodeURIComponent(secret)]) {
        const line = text.split('\n').find((one) => one.includes(form))
        assert.equal(line, undefined, `${name} was printed`)
      }
    }
    const basic = btoa(`ann:${planted.basicPassword}`)
    assert.ok(!text.includes(basic), 'basic credentials were printed')
  })
})
