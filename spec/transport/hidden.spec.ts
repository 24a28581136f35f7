import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { HiddenTcp } from '../../lib/transport/hidden.ts'

test('what stands for a hidden TCP socket tells when nothing waits any more', async () => {
  const socket = { bufferedAmount: 3 }
  const tcp = new HiddenTcp(socket)
  let isWritten = false
  const written = new Promise<void>((resolve) =>
    tcp.write(Buffer.alloc(0), () => {
      isWritten = true
      resolve()
    }),
  )
  await new Promise(setImmediate)
  assert.equal(isWritten, false)
  socket.bufferedAmount = 0
  await written
})

test('it counts no bytes, takes no advice, and can be read without end', async () => {
  const tcp = new HiddenTcp({ bufferedAmount: 0 })
  assert.equal(tcp.bytesRead, 0)
  assert.equal(tcp.setNoDelay(), tcp)
  tcp.resume().destroy()
  await once(tcp, 'close')
})
