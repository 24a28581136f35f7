import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { onServerCore } from './cores.ts'

/** A server under test, in a process of its own. */
export class Contestant {
  readonly port: number
  readonly #process: ChildProcess

  private constructor(process: ChildProcess, port: number) {
    this.#process = process
    this.port = port
  }

  /** Starts a file of `servers`; `nodeOptions` are Node's, to profile it say. */
  static async start(name: string, nodeOptions: readonly string[] = []): Promise<Contestant> {
    const file = fileURLToPath(new URL(`./servers/${name}.ts`, import.meta.url))
    const node = [process.execPath, ...process.execArgv, ...nodeOptions, file]
    const [command = '', ...args] = onServerCore(node)
    const child = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    child.on('exit', (code) => {
      if (child.connected || code !== 0) throw new Error(`${name} ended with ${String(code)}`)
    })
    return new Contestant(child, await said(child))
  }

  /** Is the microseconds of CPU that it has used so far. */
  cpu(): Promise<number> {
    const answer = said(this.#process)
    this.#process.send('cpu')
    return answer
  }

  /** Lets it end. */
  async stop(): Promise<void> {
    const exit = once(this.#process, 'exit')
    this.#process.disconnect()
    await exit
  }
}

async function said(child: ChildProcess): Promise<number> {
  const [number] = (await once(child, 'message')) as [unknown]
  return Number(number)
}
