import { readFileSync } from 'node:fs'
import { listen, WebsocketServer } from '../built.ts'
import { awaits, compresses, fansOut, tlsFiles } from './mode.ts'
import { report } from './report.ts'

const tls = tlsFiles && { cert: readFileSync(tlsFiles.cert), key: readFileSync(tlsFiles.key) }
const server = new WebsocketServer({ compression: compresses, tls })
listen(server, 'client', async (client) => {
  if (fansOut) {
    listen(client, 'message', (message) => server.emit(message))
  } else if (awaits === 'listener') {
    listen(client, 'message', async (message) => {
      await Promise.resolve()
      client.send(message)
    })
  } else if (awaits === 'loop') {
    for await (const message of listen(client, 'message')) client.send(message)
  } else {
    listen(client, 'message', (message) => client.send(message))
  }
})
const { port } = await server.serve(0, '127.0.0.1')
report(port)
