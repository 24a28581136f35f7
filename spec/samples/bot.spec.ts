import assert from 'node:assert/strict'
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { test } from 'node:test'
import { sparePort } from '../support/ports.ts'

const RESTARTS = 20
const ROOT = join(import.meta.dirname, '../..')

type Child = ChildProcessByStdio<null, Readable, null>

function start(env: Record<string, string>, ...args: string[]): Child {
  const stdio: ['ignore', 'pipe', 'inherit'] = ['ignore', 'pipe', 'inherit']
  return spawn(process.execPath, args, { cwd: ROOT, env: { ...process.env, ...env }, stdio })
}

/** A server as others write it, without this package: it tells each line of what happens to it. */
const SERVER = `
  const server = new (require('ws').WebSocketServer)({ port: Number(process.env.PORT) })
  server.on('listening', () => console.log(server.address().port))
  server.on('connection', (socket) => socket.on('message', (data) => {
    if (String(data) === 'subscribe:prices') socket.send('time?')
    else socket.send('price of ' + process.env.ROUND, () => console.log('served', String(data)))
  }))`

test(`the bot is served again after each of ${RESTARTS} restarts of its server`, async (t) => {
  let bot: Child | undefined
  const port = String(await sparePort())
  const log: string[] = []
  t.after(() => bot?.kill('SIGKILL'))
  for (let round = 0; round <= RESTARTS; round++) {
    const server = start({ PORT: port, ROUND: `${round}` }, '-e', SERVER)
    t.after(() => server.kill('SIGKILL'))
    const lines = createInterface(server.stdout)[Symbol.asyncIterator]()
    const line = async (): Promise<string> => String((await lines.next()).value)
    assert.equal(await line(), port)
    bot ??= startBot(port, (said) => {
      log.push(said)
      if (process.env.LOG) console.log(said)
    })
    const [word, time = ''] = (await line()).split(' ')
    assert.equal(word, 'served')
    assert.ok(!Number.isNaN(Date.parse(time)), time)
    server.kill('SIGKILL') // as a crash: without a close frame
    await once(server, 'close')
  }
  assert.ok(bot)
  bot.kill('SIGTERM')
  assert.deepEqual(await once(bot, 'close'), [0, null])
  assert.ok(log.includes('attempt 1 in 20 ms'), 'it tells what it does')
  assert.equal(log.at(-1), 'the bot was stopped, or told to go')
})

function startBot(port: string, tell: (line: string) => void): Child {
  const args = ['--conditions=source', '--import', 'tsx', 'samples/bot.ts']
  const bot = start({ PORT: port, DELAY: '20' }, ...args)
  createInterface(bot.stdout).on('line', tell)
  return bot
}
