import { closeTexts, type CloseReason } from '../close.ts'
import { ConnectError, WebsocketError } from '../errors.ts'
import { isShared, Message, toBytes, type Data } from '../message.ts'
import type { Dial, OnWake, Receiver, Transport } from './transport.ts'

const OPEN = 1 // a WebSocket's readyState
const FIRST_LOOK = 4 // ms until we see how much a browser has sent: it doesn't tell by itself,
const LAST_LOOK = 128 // and after each look at which nothing was, twice as long

/**
 * A browser's WebSocket as a `Transport`, in a page or in a worker.
 *
 * Its bytes are the browser's: it can't be paused, pinged or cut off, it doesn't tell of a close
 * frame before the connection has ended, and of all close codes it sends 1000 and 3000 to 4999.
 */
export class BrowserTransport implements Transport {
  bytesReceived = 0
  readonly #socket: WebSocket
  #receiver: Receiver | undefined
  #accepted = 0 // bytes given to the browser
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(socket: WebSocket) {
    this.#socket = socket
  }

  get protocol(): string {
    return this.#socket.protocol
  }

  get bufferedAmount(): number {
    return this.#socket.bufferedAmount
  }

  start(receiver: Receiver): void {
    this.#receiver = receiver
    this.#socket.onmessage = ({ data }: { data: unknown }) => this.#received(data)
    this.#socket.onclose = ({ code, reason }) => this.#closed(code, reason)
  }

  send(message: Data | Message): void {
    const socket = this.#socket
    if (socket.readyState !== OPEN) return // it would only grow what waits
    const waiting = socket.bufferedAmount
    const data = message instanceof Message ? message.data : message
    // A browser sends nothing of a shared buffer.
    socket.send(typeof data !== 'string' && isShared(data.buffer) ? new Uint8Array(data) : data)
    this.#accepted += socket.bufferedAmount - waiting
  }

  notify(): void {
    clearTimeout(this.#timer)
    this.#look(this.#accepted, this.bufferedAmount, FIRST_LOOK)
  }

  ping(): never {
    throw new WebsocketError(
      'a browser cannot ping: let the server do so, or send it a message that it answers',
    )
  }

  /** Does nothing: there is no asking but by a message, which is the user's. */
  probe(): void {}

  close({ code, description }: CloseReason): void {
    if (code === 1000 || code >= 3000) this.#socket.close(code, description)
    else this.#socket.close()
  }

  cut(): void {
    this.#socket.close()
    queueMicrotask(() => this.#end({ code: 1006, description: closeTexts.get(1006) ?? '' }))
  }

  readonly canPause = false

  pause(): void {}

  resume(): void {}

  #received(data: unknown): void {
    const whole = typeof data === 'string' ? data : new Uint8Array(data as ArrayBuffer)
    const size = toBytes(whole).length
    this.bytesReceived += size
    this.#receiver?.message(whole, size)
  }

  /** Only now can be known that a close frame came; without one the code is 1006. */
  #closed(code: number, description: string): void {
    if (code !== 1006) this.#receiver?.closing({ code, description })
    this.#end({ code, description })
  }

  #end(reason: CloseReason): void {
    clearTimeout(this.#timer)
    this.#socket.onmessage = this.#socket.onclose = null
    const receiver = this.#receiver
    this.#receiver = undefined
    receiver?.closed(reason)
  }

  /** Looks, until so many bytes have gone, how many still wait. */
  #look(due: number, before: number, delay: number): void {
    this.#timer = setTimeout(() => {
      const waiting = this.bufferedAmount
      if (this.#accepted - waiting >= due) this.#receiver?.written()
      else this.#look(due, waiting, waiting < before ? FIRST_LOOK : Math.min(2 * delay, LAST_LOOK))
    }, delay)
  }
}

/** Reaches for a server with the browser's WebSocket, which throws for what it can't dial. */
export const dial: Dial = ({ url, protocols }, { opened, failed }) => {
  const socket = new WebSocket(url.href, [...protocols])
  socket.binaryType = 'arraybuffer'
  const giveUp = (): void => {
    socket.onopen = socket.onclose = null
    socket.close()
  }
  socket.onopen = () => {
    socket.onopen = socket.onclose = null
    opened(new BrowserTransport(socket))
  }
  socket.onclose = () => {
    giveUp()
    failed(new ConnectError(`could not connect to ${url.origin}: a browser doesn't tell why`))
  }
  return giveUp
}

/** What a page or a worker is to us; only a page can be looked at. */
interface Place extends EventTarget {
  readonly document?: { readonly visibilityState: string }
}

const WAKES = ['online', 'pageshow', 'visibilitychange']

/** Calls back when the network came back, and when somebody looks at the page again. */
export const onWake: OnWake = (callback) => {
  const place = globalThis as unknown as Place
  const woken = ({ type }: Event): void => {
    if (type !== 'visibilitychange' || place.document?.visibilityState === 'visible') callback()
  }
  for (const wake of WAKES) place.addEventListener(wake, woken)
  return () => {
    for (const wake of WAKES) place.removeEventListener(wake, woken)
  }
}
