// Not a server for use: the least that echoes a frame, and so the floor of Node's own sockets.
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { applyMask, readKey } from '../../lib/transport/tcp/frames/mask.ts'
import { answer } from '../wire/handshake.ts'
import { fansOut, tlsFiles } from './mode.ts'
import { report } from './report.ts'

const NOTHING = Buffer.alloc(0)

const members = new Set<Socket>()
const tls = tlsFiles && { cert: readFileSync(tlsFiles.cert), key: readFileSync(tlsFiles.key) }
const server = tls
  ? createTlsServer({ noDelay: true, ...tls }, serve)
  : createServer({ noDelay: true }, serve)
server.listen(0, '127.0.0.1')
await once(server, 'listening')
report((server.address() as AddressInfo).port)

function serve(tcp: Socket): void {
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
}

/** Makes the frames of a client those of a server, in place; returns them, and the part of one that is left. */
function unmask(bytes: Buffer): { replies: Buffer; rest: Buffer } {
  let at = 0
  let written = 0
  for (;;) {
    const short = (bytes[at + 1] ?? 0) & 0x7f
    const head = short === 127 ? 10 : short === 126 ? 4 : 2
    if (bytes.length < at + head) break
    const length = head === 2 ? short : readLength(bytes, at + 2, head)
    const start = at + head + 4
    const end = start + length
    if (bytes.length < end) break
    applyMask(bytes, readKey(bytes, start - 4), start, end)
    bytes[at + 1] = short
    bytes.copyWithin(written, at, at + head).copyWithin(written + head, start, end)
    written += head + length
    at = end
  }
  return { replies: bytes.subarray(0, written), rest: Buffer.from(bytes.subarray(at)) }
}

function readLength(bytes: Buffer, at: number, head: number): number {
  return head === 4 ? bytes.readUInt16BE(at) : bytes.readUIntBE(at + 2, 6)
}
