// Prints what context takeover costs and saves, for different JSON messages of 1 KiB in one direction.
// Run: npm run takeover
import { resolveServer } from '../lib/options/server.ts'
import { Deflate } from '../lib/transport/tcp/deflate/deflate.ts'
import { jsonOf } from './loads/texts.ts'
import { show, table } from './stats.ts'

const MESSAGES = 20_000
const WARM_UP = 1_000
const payloads = Array.from({ length: 64 }, (_, seed) => Buffer.from(jsonOf(1024, seed)))

/** Makes the two ends of a connection. */
function ends(windowBits: number, keepsContext: boolean): [Deflate, Deflate] {
  const direction = { windowBits, keepsContext }
  const make = (): Deflate =>
    new Deflate({ send: direction, receive: direction }, resolveServer({}))
  return [make(), make()]
}

/** Returns the microseconds of CPU that something takes each time. */
function timed(times: number, action: (index: number) => void): number {
  const before = process.cpuUsage()
  for (let index = 0; index < times; index++) action(index)
  const { user, system } = process.cpuUsage(before)
  return (user + system) / times
}

function measure(windowBits: number, keepsContext: boolean): string[] {
  const [sender, receiver] = ends(windowBits, keepsContext)
  const compressed: Uint8Array[] = []
  const compress = (index: number): void => {
    const payload = payloads[index % payloads.length] ?? Buffer.alloc(0)
    compressed.push(sender.deflate(payload) as Uint8Array) // short: not in the thread pool
  }
  const inflate = (index: number): void => {
    void receiver.inflate(compressed[index] ?? Buffer.alloc(0))
  }
  timed(WARM_UP, compress)
  timed(WARM_UP, inflate)
  compressed.length = 0
  const deflating = timed(MESSAGES, compress)
  const inflating = timed(MESSAGES, inflate)
  const bytes = compressed.reduce((sum, { length }) => sum + length, 0) / MESSAGES
  return [
    keepsContext ? 'yes' : 'no',
    `${windowBits} bits`,
    show(bytes),
    show(deflating),
    show(inflating),
  ]
}

measure(15, false) // so that all of it is compiled
const rows = [measure(15, false), ...[10, 12, 15].map((windowBits) => measure(windowBits, true))]
console.log(table([['takeover', 'window', 'bytes', 'µs to compress', 'µs to inflate'], ...rows]))
