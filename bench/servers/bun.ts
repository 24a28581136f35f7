// Runs in Bun, not in Node.
import { compresses, fansOut } from './mode.ts'
import { report } from './report.ts'

const server = Bun.serve({
  port: 0,
  hostname: '127.0.0.1',
  fetch: (request, self) =>
    self.upgrade(request) ? undefined : new Response('WebSockets only', { status: 426 }),
  websocket: {
    idleTimeout: 0,
    sendPings: false,
    perMessageDeflate: compresses && { compress: 'shared', decompress: 'shared' },
    open: (socket) => {
      if (fansOut) socket.subscribe('all')
    },
    message: (socket, text) => {
      if (fansOut) server.publish('all', text, compresses)
      else socket.send(text, compresses)
    },
  },
})
report(server.port)
