import { listen, type WebsocketConnection } from '../../lib/index.ts'
import { ChannelClient, type Channel, type Message } from '../../lib/channels/index.ts'
import { Goer, type Findings } from './goer.ts'
import { compression, count, type Head, type Said } from './words.ts'

const TIMEOUT = 60_000 // ms; an answer that waits in the crowd isn't lost

/** A client in channels of a `ChannelServer`. */
export class ChannelGoer extends Goer {
  readonly #client = new ChannelClient({ timeout: TIMEOUT, compression })
  readonly #channels = new Map<string, Channel>()
  readonly #compared = new Map<Channel, () => void>()

  constructor(who: string, findings: Findings) {
    super(who, findings)
    listen(this.#client, 'open', () => this.connected())
    listen(this.#client, 'close', ({ code }) => this.ended(code))
    listen(this.#client, 'error', () => count(findings.counted, 'errors of channel clients'))
  }

  get isOpen(): boolean {
    return this.#client.isOpen
  }

  protected get connection(): WebsocketConnection | undefined {
    return this.#any?.connection
  }

  open(port: number): void {
    void this.#client.open(`ws://127.0.0.1:${port}/socket`)
  }

  close(): Promise<void> {
    return this.#client.close()
  }

  join(room: string): void {
    this.wanted.add(room)
    this.ledger.rejoining(room)
    const channel = this.#client.channel(room, { who: this.who })
    this.#channels.set(room, channel)
    listen(channel, 'join', (reply) => this.joined(reply as Head))
    listen(channel, 'error', () => count(this.findings.counted, 'errors of channels'))
    // One listener for all, so that a frozen client hears how far the room has come behind the rest.
    listen(channel, 'message', (message: Message) => {
      this.#hear(channel, message)
      return this.held
    })
    listen(channel, 'close', () => {
      this.#settle(channel)
      if (!this.#channels.has(room)) this.ledger.left(room)
    })
    void channel.join()
  }

  leave(room: string): void {
    const channel = this.#channels.get(room)
    this.#channels.delete(room)
    this.leaving(room)
    if (channel) void this.#leave(channel)
  }

  compare(): Promise<unknown> {
    return Promise.all([...this.wanted].map((room) => this.#compare(this.#channels.get(room))))
  }

  drown(): void {
    this.#any?.push('drown', {}).catch(() => {})
  }

  flood(messages: number): void {
    for (let sent = 0; sent < messages; sent++) void this.#any?.push('flood', {})
  }

  protected stateOf(room: string): string {
    return this.#channels.get(room)?.state ?? 'unknown'
  }

  protected say(room: string, from: string, number: number): void {
    void this.#channels.get(room)?.push('say', { from, number })
  }

  get #any(): Channel | undefined {
    return [...this.#channels.values()].find(({ state }) => state === 'joined')
  }

  async #leave(channel: Channel): Promise<void> {
    await this.#compare(channel)
    await channel.leave()
  }

  /** Resolves once all that was sent before has been heard, or the membership has ended. */
  async #compare(channel: Channel | undefined): Promise<void> {
    if (channel?.state !== 'joined') return
    const heard = new Promise<void>((resolve) => this.#compared.set(channel, resolve))
    try {
      await channel.push('head', {})
      await heard
    } catch {
      // Its connection went before the answer came: with that its membership.
    }
  }

  #hear(channel: Channel, { event, payload }: Message): void {
    if (event === 'said') this.heard(payload as Said)
    if (event !== 'head') return // water, and presence
    this.ledger.reached(payload as Head)
    this.#settle(channel)
  }

  #settle(channel: Channel): void {
    this.#compared.get(channel)?.()
    this.#compared.delete(channel)
  }
}
