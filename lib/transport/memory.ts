import { closeTexts, type CloseReason } from '../close.ts'
import { Message, toBytes, type Data } from '../message.ts'
import type { Receiver, Transport } from './transport.ts'

/** What crosses from one end to the other, and how many bytes it stands for. */
interface Parcel {
  readonly size: number
  readonly deliver: (end: MemoryTransport, receiver: Receiver) => void
}

/** Joins two ends in memory: what one sends, the other receives a microtask later. */
export function joinInMemory(protocol = ''): [MemoryTransport, MemoryTransport] {
  const [one, other] = [new MemoryTransport(protocol), new MemoryTransport(protocol)]
  one.join(other)
  other.join(one)
  return [one, other]
}

/** One end of a connection without a network. */
export class MemoryTransport implements Transport {
  readonly protocol: string
  bufferedAmount = 0
  bytesReceived = 0
  bytesSent = 0
  #peer: MemoryTransport | undefined
  #receiver: Receiver | undefined
  #waiting: Parcel[] = []
  #scheduled = false
  #paused = false
  #sentClose = false
  #reason: CloseReason | undefined

  constructor(protocol: string) {
    this.protocol = protocol
  }

  /** Names the other end. */
  join(peer: MemoryTransport): void {
    this.#peer = peer
  }

  start(receiver: Receiver): void {
    this.#receiver = receiver
    this.#schedule()
  }

  send(message: Data | Message): void {
    const data = message instanceof Message ? message.data : message
    const size = toBytes(data).length
    // A copy: the two ends share no memory, as over a network.
    const own = typeof data === 'string' ? data : Uint8Array.from(data)
    this.#put({ size, deliver: (_, receiver) => receiver.message(own, size) })
  }

  notify(): void {
    this.#put({ size: 0, deliver: () => this.#receiver?.written() })
  }

  ping(payload: Uint8Array): void {
    const deliver: Parcel['deliver'] = (end, receiver) => {
      end.#put({
        size: payload.length,
        deliver: (_, sender) => sender.pong(payload),
      })
      receiver.ping(new Uint8Array(payload)) // whose listener may change it
    }
    this.#put({ size: payload.length, deliver })
  }

  close(reason: CloseReason): void {
    this.#put({
      size: 2 + toBytes(reason.description).length,
      deliver: (end, receiver) => {
        end.#reason = reason
        receiver.closing(reason)
        const peer = end.#peer
        if (!end.#sentClose) end.close(reason)
        else if (peer && peer.#reason) end.#end() // each has the other's close frame
      },
    })
    this.#sentClose = true
  }

  cut(): void {
    if (!this.#peer) return
    this.#reason ??= abnormal()
    this.#end()
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.#schedule()
  }

  readChunk(): void {
    this.#deliver(1)
  }

  #put(parcel: Parcel): void {
    if (this.#sentClose || !this.#peer) return
    this.bufferedAmount += parcel.size
    this.bytesSent += parcel.size
    this.#peer.#waiting.push(parcel)
    this.#peer.#schedule()
  }

  #schedule(): void {
    if (this.#scheduled || this.#paused || !this.#receiver || this.#waiting.length === 0) return
    this.#scheduled = true
    queueMicrotask(() => {
      this.#scheduled = false
      this.#deliver()
    })
  }

  #deliver(least = 0): void {
    for (let count = 0; this.#peer && this.#receiver; count++) {
      if (this.#paused && count >= least) return
      const parcel = this.#waiting.shift()
      if (!parcel) return
      const sender = this.#peer
      this.bytesReceived += parcel.size
      sender.bufferedAmount -= parcel.size
      parcel.deliver(this, this.#receiver)
    }
  }

  /** Parts the two ends; each tells its own connection, after what it still has to deliver. */
  #end(): void {
    const peer = this.#peer
    if (!peer) return
    this.#part()
    peer.#part()
  }

  #part(): void {
    const deliver = (): void => {
      const receiver = this.#receiver
      this.#receiver = undefined
      receiver?.closed(this.#reason ?? abnormal())
    }
    this.#peer = undefined
    this.#waiting = []
    queueMicrotask(deliver)
  }
}

function abnormal(): CloseReason {
  return { code: 1006, description: closeTexts.get(1006) ?? '' }
}
