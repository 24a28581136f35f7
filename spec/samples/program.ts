import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once as onceOf } from 'node:events'
import { createInterface } from 'node:readline'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** A sample that runs. */
export interface Program {
  /** The next line that it prints; undefined when it has ended. */
  line(): Promise<string | undefined>
  /** The port that it says it listens on. */
  port(): Promise<number>
  /** Types a line to it. */
  say(line: string): void
  stop(): void
  /** Ends when it ends: with its exit code, and what it printed to stderr. */
  readonly ended: Promise<{ code: number | null; errors: string }>
}

/** Starts a sample until the end of the test, on a port that is free unless `env` says which. */
export function run(t: TestContext, name: string, env: Record<string, string> = {}): Program {
  const options = ['--conditions=source', '--import', 'tsx', `samples/${name}.ts`]
  const child = spawn(process.execPath, options, {
    cwd: root,
    env: { ...process.env, PORT: '0', ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text))
  const ended = onceOf(child, 'close').then(() => ({ code: child.exitCode, errors }))
  t.after(async () => {
    child.kill('SIGKILL')
    await ended
  })
  const line = async (): Promise<string | undefined> => {
    const next = await lines.next()
    return next.done === true ? undefined : next.value
  }
  const port = async (): Promise<number> => {
    const said = await line()
    const [, digits] = /^listening on wss?:\/\/localhost:(\d+)$/.exec(said ?? '') ?? []
    return Number(digits ?? assert.fail(`${name} said ${said}`))
  }
  const say = (text: string): void => void child.stdin.write(`${text}\n`)
  return { line, port, say, stop: () => void child.kill('SIGTERM'), ended }
}
