// Not a server for use: the least that echoes a frame, and so the floor of Node's own sockets.
import { once } from 'node:events'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { answer } from '../wire/handshake.ts'
import { fansOut } from './mode.ts'
import { report } from './report.ts'

const NOTHING = Buffer.alloc(0)

const members = new Set<Socket>()
const server = createServer({ noDelay: true }, (tcp) => {
  tcp.on('error', () => tcp.destroy())
  tcp.on('close', () => members.delete(tcp))
  tcp.once('data', (request) => {
    members.add(tcp)
    tcp.write(answer(request.toString()))
    let part: Buffer = NOTHING
    tcp.on('data', (chunk) => {
      const { replies, rest } = unmask(part.length > 0 ? Buffer.concat([part, chunk]) : chunk)
      part = rest
      if (replies.length === 0) return
      for (const member of fansOut ? members : [tcp]) member.write(replies)
    })
  })
})
server.listen(0, '127.0.0.1')
await once(server, 'listening')
report((server.address() as AddressInfo).port)

/** Is the frames of a client as a server sends them, all in one, and the part of one that is left. */
function unmask(bytes: Buffer): { replies: Buffer; rest: Buffer } {
  const replies = Buffer.allocUnsafe(bytes.length)
  let at = 0
  let written = 0
  for (;;) {
    const short = (bytes[at + 1] ?? 0) & 0x7f
    const head = short === 126 ? 4 : 2
    if (bytes.length < at + head) break
    const length = head === 4 ? bytes.readUInt16BE(at + 2) : short
    const start = at + head + 4
    if (bytes.length < start + length) break
    replies[written] = bytes[at] ?? 0
    replies[written + 1] = short
    if (head === 4) replies.writeUInt16BE(length, written + 2)
    written += head
    for (let i = 0; i < length; i++) {
      replies[written++] = (bytes[start + i] ?? 0) ^ (bytes[start - 4 + (i & 3)] ?? 0)
    }
    at = start + length
  }
  return { replies: replies.subarray(0, written), rest: bytes.subarray(at) }
}
