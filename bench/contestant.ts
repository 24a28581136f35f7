import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Runtime } from './contestants.ts'
import { onServerCore } from './cores.ts'

/** A program to be started. */
export interface Program {
  readonly name: string
  /** Where its file is. Default: servers. */
  readonly folder?: 'servers' | 'clients'
  readonly runtime?: Runtime
  readonly args: readonly string[]
  /** Options of Node, to profile it say. */
  readonly nodeOptions?: readonly string[]
}

/** The bytes that a process has in use. */
export interface Memory {
  readonly rss: number
  readonly heap: number
  readonly external: number
}

const START = 20_000 // milliseconds that it has to start

/** A server, or a client, under test, in a process of its own. */
export class Contestant {
  readonly name: string
  /** The port that it listens on, or that it is connected to. */
  port = 0

  readonly #process: ChildProcess
  #said: (answer: unknown) => void = () => {}
  #failed: (error: Error) => void = () => {}
  #complaints = ''
  #error: Error | undefined

  private constructor({ name, folder = 'servers', runtime, args, nodeOptions = [] }: Program) {
    const file = fileURLToPath(new URL(`./${folder}/${name}.ts`, import.meta.url))
    const node = [process.execPath, ...process.execArgv, ...nodeOptions]
    const runner = runtime === 'bun' ? [bun] : node
    const [command = '', ...rest] = onServerCore([...runner, file, ...args])
    this.name = name
    this.#process = spawn(command, rest, { stdio: ['ignore', 'inherit', 'pipe', 'ipc'] })
    this.#process.stderr?.on('data', (data: Buffer) => {
      this.#complaints = `${this.#complaints}${data}`.slice(-4_000)
    })
    this.#process.on('message', (answer) => this.#said(answer))
    this.#process.on('error', (error) => this.#end(error))
    this.#process.on('exit', (code) => this.#end(new Error(`ended with ${code}${this.#why()}`)))
  }

  /** Starts a program, and resolves when it is ready. */
  static async start(program: Program): Promise<Contestant> {
    const contestant = new Contestant(program)
    const late = setTimeout(() => {
      contestant.#end(new Error('did not start in time'))
      contestant.#process.kill()
    }, START)
    try {
      contestant.port = (await contestant.#answer()) as number
      return contestant
    } finally {
      clearTimeout(late)
    }
  }

  /** Resolves with the microseconds of CPU that it has used so far. */
  cpu(): Promise<number> {
    return this.#ask('cpu') as Promise<number>
  }

  /** Resolves with the memory that it uses, free of garbage. */
  memory(): Promise<Memory> {
    return this.#ask('memory') as Promise<Memory>
  }

  /** Resolves with the number of messages that it has counted. */
  count(): Promise<number> {
    return this.#ask('count') as Promise<number>
  }

  /** Lets it publish at a steady pace, for the others to time. */
  async publish(): Promise<void> {
    await this.#ask('publish')
  }

  /** Resolves with how long each of its publishes took to come, in microseconds. */
  latencies(): Promise<number[]> {
    return this.#ask('latencies') as Promise<number[]>
  }

  /** Lets it end. */
  async stop(): Promise<void> {
    if (this.#error) return
    this.#error = new Error('was stopped')
    const exit = once(this.#process, 'exit')
    this.#process.disconnect()
    await exit
  }

  #ask(question: string): Promise<unknown> {
    const answer = this.#answer()
    if (!this.#error) this.#process.send(question)
    return answer
  }

  #answer(): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#error) reject(this.#error)
      this.#said = resolve
      this.#failed = reject
    })
  }

  #end(error: Error): void {
    this.#error ??= error
    this.#failed(this.#error)
  }

  /** The line of what it wrote that tells most. */
  #why(): string {
    const lines = this.#complaints.split('\n').filter((line) => line.trim() !== '')
    const line = lines.find((text) => /error/i.test(text)) ?? lines.at(-1)
    return line === undefined ? '' : `: ${line.trim()}`
  }
}

const bun = fileURLToPath(new URL('./node_modules/bun/bin/bun.exe', import.meta.url)) // on every system
