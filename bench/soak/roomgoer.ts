import { listen, WebsocketClient, type WebsocketConnection } from '../../lib/index.ts'
import { Goer, type Findings } from './goer.ts'
import { compression, type Ask, type Told } from './words.ts'

const LONGEST = 3_000 // ms before it tries again

/** A client in rooms of a `WebsocketServer`. */
export class RoomGoer extends Goer {
  readonly #client = new WebsocketClient({
    compression,
    reconnect: {
      when: () => true,
      delay: (attempt) => Math.random() * Math.min(LONGEST, 100 * 2 ** attempt),
    },
  })
  readonly #compared = new Map<string, () => void>()

  constructor(who: string, findings: Findings) {
    super(who, findings)
    listen(this.#client, 'connectError', () => {}) // it goes on trying
    listen(this.#client, 'connect', (connection) => this.#connect(connection))
    listen(this.#client, 'error', (error) => findings.violations.push(`${who}: ${error.message}`))
  }

  get isOpen(): boolean {
    return this.#client.isOpen
  }

  protected get connection(): WebsocketConnection | undefined {
    return this.#client.connection
  }

  open(port: number): void {
    void this.#client.open(`ws://127.0.0.1:${port}/`)
  }

  close(): Promise<void> {
    return this.#client.close()
  }

  join(room: string): void {
    this.wanted.add(room)
    this.#ask({ ask: 'join', room })
  }

  leave(room: string): void {
    this.leaving(room)
    this.#ask({ ask: 'leave', room })
  }

  compare(): Promise<unknown> {
    const answers = [...this.wanted].map((room) => {
      this.#ask({ ask: 'head', room })
      return new Promise<void>((resolve) => this.#compared.set(room, resolve))
    })
    return Promise.all(answers)
  }

  drown(): void {
    this.#ask({ ask: 'drown' })
  }

  flood(messages: number): void {
    for (let sent = 0; sent < messages; sent++) this.#ask({ ask: 'flood' })
  }

  protected stateOf(): string {
    return 'not answered'
  }

  protected say(room: string, from: string, number: number): void {
    this.#ask({ ask: 'say', room, from, number })
  }

  #ask(ask: Ask): void {
    this.#client.connection?.send(JSON.stringify(ask))
  }

  #connect(connection: WebsocketConnection): void {
    this.connected()
    listen(connection, 'message', (text) => {
      this.#hear(JSON.parse(String(text)) as Told)
      return this.held
    })
    listen(connection, 'close', ({ code }) => {
      this.ended(code)
      for (const answered of this.#compared.values()) answered() // nothing more is to be told there
    })
    for (const room of this.wanted) this.#ask({ ask: 'join', room })
  }

  #hear(told: Told): void {
    if (told.told === 'water') return
    if (told.told === 'said') this.heard(told)
    else if (told.told === 'joined') this.joined(told)
    else this.ledger.reached(told)
    if (told.told === 'head') this.#compared.get(told.room)?.()
    if (told.told === 'left') this.ledger.left(told.room)
  }
}
