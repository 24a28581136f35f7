import { EventEmitter } from 'node:events'
import WebSocket from 'ws'

/** How long amber.js waits: short in a spec. */
export interface AmberPatience {
  /** Milliseconds before it connects again, by how often it has tried; the last one counts from there. */
  readonly reconnect: readonly number[]
  /** Milliseconds without a `ping` after which it drops the connection. */
  readonly pings: number
}

interface AmberMessage {
  readonly event: string
  readonly topic: string
  readonly subject: string
  readonly payload: unknown
}

type Hear = (payload: unknown) => void

/** A client that does on the wire what amber.js does. */
export class AmberSocket {
  /** A callback for each connection that is open. */
  opened: () => void = () => {}
  /** Tells of every `ping`. */
  readonly pings = new EventEmitter()
  readonly #url: string
  readonly #patience: AmberPatience
  readonly #channels: AmberChannel[] = []
  #web: WebSocket | undefined
  #alive: NodeJS.Timeout | undefined
  #again: NodeJS.Timeout | undefined
  #tries = 0
  #done = false

  constructor(url: string, patience: AmberPatience) {
    this.#url = url
    this.#patience = patience
  }

  connect(): Promise<void> {
    return new Promise((resolve) => {
      const web = new WebSocket(this.#url)
      this.#web = web
      web.onopen = () => {
        this.#tries = 0
        this.#expectPing()
        resolve()
        this.opened()
      }
      web.onmessage = ({ data }) => this.#hear(data as string)
      web.onerror = () => {} // what follows is a close
      web.onclose = () => this.#lost()
    })
  }

  channel(topic: string): AmberChannel {
    const channel = new AmberChannel(topic, (message) => this.#web?.send(JSON.stringify(message)))
    this.#channels.push(channel)
    return channel
  }

  disconnect(): void {
    this.#done = true
    clearTimeout(this.#again)
    this.#web?.close()
  }

  // All that isn't the word is JSON to it: anything else throws.
  #hear(text: string): void {
    if (text === 'ping') {
      this.pings.emit('ping')
      this.#expectPing()
      return
    }
    const { topic, subject, payload } = JSON.parse(text) as AmberMessage
    for (const channel of this.#channels)
      if (channel.topic === topic) channel.hear(subject, payload)
  }

  #expectPing(): void {
    clearTimeout(this.#alive)
    this.#alive = setTimeout(() => this.#web?.close(), this.#patience.pings)
  }

  // It connects again, and leaves it at that: what was joined isn't any more.
  #lost(): void {
    clearTimeout(this.#alive)
    if (this.#done) return
    const { reconnect } = this.#patience
    const wait = reconnect[Math.min(this.#tries, reconnect.length - 1)]
    this.#tries += 1
    this.#again = setTimeout(() => void this.connect(), wait)
  }
}

/** A topic, as amber.js has it. */
export class AmberChannel {
  readonly topic: string
  readonly #send: (message: object) => void
  readonly #heard = new Map<string, Hear>()

  constructor(topic: string, send: (message: object) => void) {
    this.topic = topic
    this.#send = send
  }

  join(): void {
    this.#send({ event: 'join', topic: this.topic })
  }

  leave(): void {
    this.#send({ event: 'leave', topic: this.topic })
  }

  push(subject: string, payload: unknown): void {
    this.#send({ event: 'message', topic: this.topic, subject, payload })
  }

  on(subject: string, hear: Hear): void {
    this.#heard.set(subject, hear)
  }

  hear(subject: string, payload: unknown): void {
    this.#heard.get(subject)?.(payload)
  }
}
