import { closeReason, type CloseReason, type Fault } from '../connection/close-codes.ts'
import { ConnectError, WebsocketError } from '../errors.ts'
import { isShared, PreparedMessage, toBytes, type Data } from '../connection/message.ts'
import type { Dial, OnWake, TransportReceiver, Transport } from './transport.ts'

const OPEN = 1 // a WebSocket's readyState

// A browser doesn't report when it has sent something, so `bufferedAmount` is polled. The delay
// doubles after each poll that finds no progress.
const MIN_POLL = 4 // milliseconds
const MAX_POLL = 128 // milliseconds

const HIDDEN_FRAMES: Fault = {
  code: 1011,
  description: 'this runtime hides its frames: leave `maxReceivedFrameSize` out',
  errorCode: 'ERR_UNSUPPORTED',
}

/** The members of a WebSocket used here. The optional ones exist on some platforms only. */
interface PlatformSocket {
  readonly protocol: string
  readonly bufferedAmount: number
  readonly readyState: number
  onmessage: ((event: never) => void) | null
  onclose: ((event: never) => void) | null
  send(data: string | Uint8Array): void
  close(code?: number, reason?: string): void
  ping?(payload: Uint8Array): void
  terminate?(): void
  pause?(): void
  resume?(): void
  on?(event: 'ping' | 'pong', listener: (payload: Uint8Array) => void): unknown
}

/**
 * A platform's own WebSocket as a `Transport`: in a page, in a worker, or in Bun.
 *
 * The platform handles the frames, so the transport can't be paused, and reports a close frame only
 * once the connection has ended. In a browser it can't ping or terminate either, and it sends only
 * the close codes 1000 and 3000 to 4999.
 */
export class WebSocketTransport implements Transport {
  bytesReceived = 0
  /** Does nothing in a browser: only a message could probe, and messages belong to the user. */
  readonly probe?: () => void
  readonly #socket: PlatformSocket
  readonly #isLimitedByFrame: boolean
  #receiver: TransportReceiver | undefined
  #acceptedBytes = 0 // bytes given to the platform so far
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(
    socket: PlatformSocket,
    { maxReceivedFrameSize }: { readonly maxReceivedFrameSize: number | false },
  ) {
    this.#socket = socket
    this.#isLimitedByFrame = maxReceivedFrameSize !== false
    if (!socket.ping) this.probe = () => {}
  }

  get protocol(): string {
    return this.#socket.protocol
  }

  get bufferedAmount(): number {
    return this.#socket.bufferedAmount
  }

  start(receiver: TransportReceiver): void {
    const socket = this.#socket
    this.#receiver = receiver
    socket.onmessage = ({ data }: { data: unknown }) => this.#onMessage(data)
    socket.onclose = ({ code, reason }: { code: number; reason: string }) => {
      this.#onClose(code, reason)
    }
    if (this.#isLimitedByFrame) queueMicrotask(() => receiver.onInvalid(HIDDEN_FRAMES, undefined))
    socket.on?.('ping', (payload) => {
      this.bytesReceived++ // shows that the peer is still there
      this.#receiver?.onPing(Uint8Array.from(payload))
    })
    socket.on?.('pong', (payload) => {
      this.bytesReceived++
      this.#receiver?.onPong(Uint8Array.from(payload))
    })
  }

  send(message: Data | PreparedMessage): void {
    const socket = this.#socket
    if (socket.readyState !== OPEN) return // else `bufferedAmount` grows and nothing is sent
    const before = socket.bufferedAmount
    const data = message instanceof PreparedMessage ? message.data : message
    // A browser doesn't send a shared buffer, so it is copied.
    socket.send(typeof data !== 'string' && isShared(data.buffer) ? new Uint8Array(data) : data)
    this.#acceptedBytes += socket.bufferedAmount - before
  }

  notify(): void {
    clearTimeout(this.#timer)
    this.#poll(this.#acceptedBytes, this.bufferedAmount, MIN_POLL)
  }

  ping(payload: Uint8Array): void {
    if (this.#socket.ping) {
      if (this.#socket.readyState === OPEN) this.#socket.ping(payload)
      return
    }
    throw new WebsocketError('a browser cannot ping: let the server', {
      code: 'ERR_UNSUPPORTED',
    })
  }

  close({ code, description }: CloseReason): void {
    const isAllowed = code === 1000 || code >= 3000 || this.#socket.terminate !== undefined
    if (isAllowed) this.#socket.close(code, description)
    else this.#socket.close()
  }

  terminate(): void {
    if (this.#socket.terminate) this.#socket.terminate()
    else this.#socket.close()
    queueMicrotask(() => this.#end(closeReason(1006)))
  }

  get canPause(): boolean {
    return this.#socket.pause !== undefined
  }

  pause(): void {
    this.#socket.pause?.()
  }

  resume(): void {
    this.#socket.resume?.()
  }

  #onMessage(data: unknown): void {
    const message = typeof data === 'string' ? data : new Uint8Array(data as ArrayBuffer)
    const size = toBytes(message).length
    this.bytesReceived += 1 + size // an empty message also shows that the peer is still there
    this.#receiver?.onMessage(message, size)
  }

  /** Reports a close frame, which is only known now; without one the code is 1006. */
  #onClose(code: number, description: string): void {
    if (code !== 1006) this.#receiver?.onPeerClose({ code, description })
    this.#end({ code, description })
  }

  #end(reason: CloseReason): void {
    clearTimeout(this.#timer)
    this.#socket.onmessage = this.#socket.onclose = null
    const receiver = this.#receiver
    this.#receiver = undefined
    receiver?.onClosed(reason)
  }

  /** Polls `bufferedAmount` until `due` bytes have been sent, then calls `onFlushed`. */
  #poll(due: number, before: number, delay: number): void {
    this.#timer = setTimeout(() => {
      const waiting = this.bufferedAmount
      if (this.#acceptedBytes - waiting >= due) this.#receiver?.onFlushed()
      else this.#poll(due, waiting, waiting < before ? MIN_POLL : Math.min(2 * delay, MAX_POLL))
    }, delay)
  }
}

/** Dials a server with the browser's WebSocket, which throws for a request it can't dial. */
export const dial: Dial = ({ url, protocols, settings }, { onOpen: opened, onError: failed }) => {
  const socket = new WebSocket(url.href, [...protocols])
  socket.binaryType = 'arraybuffer'
  const giveUp = (): void => {
    socket.onopen = socket.onclose = null
    socket.close()
  }
  socket.onopen = () => {
    socket.onopen = socket.onclose = null
    opened(new WebSocketTransport(socket, settings))
  }
  socket.onclose = () => {
    giveUp()
    failed(new ConnectError(`could not connect to ${url.origin}: a browser doesn't tell why`))
  }
  return giveUp
}

/** The global scope of a page or a worker. Only a page has a document. */
interface BrowserScope extends EventTarget {
  readonly document?: { readonly visibilityState: string }
}

const WAKE_EVENTS = ['online', 'pageshow', 'visibilitychange']

/** Calls back when the network is back, and when the user looks at the page again. */
export const onWake: OnWake = (callback) => {
  const scope = globalThis as unknown as BrowserScope
  const onEvent = ({ type }: Event): void => {
    if (type !== 'visibilitychange' || scope.document?.visibilityState === 'visible') callback()
  }
  for (const name of WAKE_EVENTS) scope.addEventListener(name, onEvent)
  return () => {
    for (const name of WAKE_EVENTS) scope.removeEventListener(name, onEvent)
  }
}
