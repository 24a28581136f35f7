import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { connect as connectNats, type NatsConnection } from '@nats-io/transport-node'
import { Redis } from 'ioredis'
import { createClient } from 'redis'
import type { BrokerBackplane } from '../../lib/backplane/broker-backplane.ts'
import { natsBackplane } from '../../lib/backplane/nats-backplane.ts'
import type { BrokerOptions } from '../../lib/options/broker.ts'
import { redisBackplane } from '../../lib/redis.ts'
import { missing } from './missing.ts'
import { sparePort } from './ports.ts'

/** How an engine is started. */
interface Brand {
  readonly command: string
  readonly options: (port: number, folder: string, monitor: number) => string[]
}

const brands = {
  redis: {
    command: 'redis-server',
    options: (port, folder) => [
      ...['--port', String(port), '--bind', '127.0.0.1', '--dir', folder],
      ...['--save', '', '--appendonly', 'no'],
    ],
  },
  nats: {
    command: 'nats-server',
    options: (port, _, monitor) => [
      ...['--addr', '127.0.0.1', '--port', String(port)],
      ...['--http_port', String(monitor)],
    ],
  },
} satisfies Record<string, Brand>

/** The name of a kind of engine. */
export type EngineName = keyof typeof brands

const find = (command: string): boolean =>
  spawnSync(command, ['--version'], { stdio: 'ignore' }).error === undefined

const found: Readonly<Record<EngineName, boolean>> = {
  redis: find(brands.redis.command),
  nats: find(brands.nats.command),
}

/** Returns why tests of an engine are skipped; in CI none is, and it throws how to get one. */
export function without(name: EngineName): string | false {
  if (found[name]) return false
  const { command } = brands[name]
  return missing(`no ${command} here: get one with \`apt-get install ${command}\``)
}

/** A real engine, on a port and with a folder of its own. */
export class RunningEngine {
  readonly name: EngineName
  readonly port: number
  readonly folder: string
  readonly #monitor: number
  readonly #options: readonly string[]
  #process: ChildProcess | undefined

  private constructor(
    name: EngineName,
    { port, monitor, folder }: { port: number; monitor: number; folder: string },
    options: readonly string[],
  ) {
    this.name = name
    this.port = port
    this.folder = folder
    this.#monitor = monitor
    this.#options = options
  }

  /** Starts one until the end of a test, with more options for its command; or only says where it would be. */
  static async start(
    t: Pick<TestContext, 'after'>,
    name: EngineName,
    { started = true, options = [] as readonly string[] } = {},
  ): Promise<RunningEngine> {
    const folder = await mkdtemp(join(tmpdir(), `${name}-`))
    const [port, monitor] = [await sparePort(), await sparePort()]
    const engine = new RunningEngine(name, { port, monitor, folder }, options)
    t.after(async () => {
      await engine.kill()
      await rm(folder, { recursive: true, force: true })
    })
    if (started) await engine.start()
    return engine
  }

  get url(): string {
    return `${this.name}://127.0.0.1:${this.port}`
  }

  async start(): Promise<void> {
    const { command, options } = brands[this.name]
    const args = [...options(this.port, this.folder, this.#monitor), ...this.#options]
    this.#process = spawn(command, args, { stdio: 'ignore' })
    while (!(await answers(this.port))) {
      if (this.#process.exitCode !== null) throw new Error(`${command} has ended`)
    }
  }

  /** Ends it as a failing machine would. */
  async kill(): Promise<void> {
    const child = this.#process
    this.#process = undefined
    if (child?.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  }

  /** Lists the channels of backplanes that the broker sends to any of its clients. */
  async channels(): Promise<string[]> {
    const names = this.name === 'redis' ? await this.#inRedis() : await this.#inNats()
    return [...new Set(names)].filter((name) => name.startsWith('simplewebsockets.')).sort()
  }

  async #inRedis(): Promise<string[]> {
    const client = createClient({ url: this.url })
    await client.connect()
    const names = await client.pubSubChannels()
    client.destroy()
    return names.map(String)
  }

  async #inNats(): Promise<string[]> {
    const answer = await fetch(`http://127.0.0.1:${this.#monitor}/connz?subs=1`)
    const { connections } = (await answer.json()) as {
      connections: { subscriptions_list?: string[] }[]
    }
    return connections.flatMap(({ subscriptions_list: list }) => list ?? [])
  }

  /** Makes a server of NATS read its configuration again. */
  reload(): void {
    this.#process?.kill('SIGHUP')
  }

  freeze(): void {
    this.#process?.kill('SIGSTOP')
  }

  thaw(): void {
    this.#process?.kill('SIGCONT')
  }
}

/** A way to an engine: a client of another package, and a backplane over it. */
export type Way = 'node-redis' | 'ioredis' | 'nats'

export const ways: readonly Way[] = ['node-redis', 'ioredis', 'nats']

export const engineOf = (way: Way): EngineName => (way === 'nats' ? 'nats' : 'redis')

/** A backplane that was opened, and the function that ends its client. */
export interface Opened {
  readonly backplane: BrokerBackplane
  readonly close: () => Promise<void>
}

/** Opens a backplane; it connects when it can. */
export function open(way: Way, url: string, options?: BrokerOptions): Opened {
  const opened = openers[way](url, options)
  const close = (): Promise<void> => {
    opened.backplane.close()
    return opened.close()
  }
  return { ...opened, close }
}

const openers: Readonly<Record<Way, (url: string, options?: BrokerOptions) => Opened>> = {
  'node-redis': (url, options) => {
    const backplane = redisBackplane(createClient({ url }), options)
    return { backplane, close: () => Promise.resolve() }
  },
  ioredis: (url, options) => {
    const client = new Redis(url)
    const backplane = redisBackplane(client, options)
    const close = (): Promise<void> => {
      client.disconnect()
      return Promise.resolve()
    }
    return { backplane, close }
  },
  nats: (url, options) => {
    const { host, username, password } = new URL(url)
    const connection = connectNats({
      servers: host,
      ...(username && { user: username, pass: password }),
      waitOnFirstConnect: true,
      maxReconnectAttempts: -1,
      reconnectTimeWait: 200,
      timeout: 1_000, // an attempt that began while the server was frozen ends then
    })
    let connected: NatsConnection | undefined
    void connection.then((known) => (connected = known))
    const backplane = natsBackplane(connection, options)
    return { backplane, close: async () => connected?.close() }
  },
}

/** Resolves when a backplane says so. */
export async function is(backplane: BrokerBackplane, wanted: 'up' | 'down'): Promise<void> {
  await new Promise<void>((resolve) => {
    backplane.listen?.((state) => state === wanted && resolve())
  })
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    await new Promise((resolve) => setTimeout(resolve, 20))
    return false
  } finally {
    socket.destroy()
  }
}
