import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import type { TestContext } from 'node:test'
import { Redis } from 'ioredis'
import { createClient, type RedisClientType } from 'redis'
import { RedisHistory } from '../../lib/channels/history/redis-history.ts'
import type { RedisHistoryOptions } from '../../lib/redis.ts'

/** A client that a history is made with. */
export type RedisWay = 'node-redis' | 'ioredis'

export const redisWays: readonly RedisWay[] = ['node-redis', 'ioredis']

/** Makes a history whose client ends with it. */
export function openHistory(
  way: RedisWay,
  url: string,
  options?: RedisHistoryOptions,
  day?: number,
): RedisHistory {
  // One of `redis` that isn't connected is the history's to close, and one of `ioredis` is never used.
  const client = way === 'ioredis' ? new Redis(url, { lazyConnect: true }) : createClient({ url })
  return new RedisHistory(client, options, day)
}

/** Connects a client of an operator, until the end of a test. */
export async function openAdmin(
  t: Pick<TestContext, 'after'>,
  url: string,
): Promise<RedisClientType> {
  const admin = createClient({ url }) as RedisClientType
  admin.on('error', () => {}) // the server ends first
  await admin.connect()
  t.after(() => admin.isOpen && admin.destroy())
  return admin
}

/** A port that passes everything on to another one. */
export class Proxy {
  readonly port: number
  /** Whether what comes back is dropped. */
  isMute = false
  #target: number
  readonly #sockets = new Set<Socket>()

  private constructor(port: number, target: number) {
    this.port = port
    this.#target = target
  }

  static async start(t: Pick<TestContext, 'after'>, target: number): Promise<Proxy> {
    const server = createServer((near) => proxy.#pass(near)).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const proxy = new Proxy((server.address() as AddressInfo).port, target)
    t.after(() => {
      server.close()
      proxy.cut()
    })
    return proxy
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`
  }

  /** Passes on to another port from now on. */
  redirect(target: number): void {
    this.#target = target
    this.cut()
  }

  /** Ends all connections. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  #pass(near: Socket): void {
    const far = connect(this.#target, '127.0.0.1')
    for (const socket of [near, far]) {
      this.#sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        this.#sockets.delete(socket)
        near.destroy()
        far.destroy()
      })
    }
    near.on('data', (data) => far.write(data))
    far.on('data', (data) => {
      if (!this.isMute) near.write(data)
    })
  }
}
