import uws from '@trufflesuite/uws-js-unofficial'
import { compresses, fansOut } from './mode.ts'
import { report } from './report.ts'

const app = uws.App()
app.ws('/*', {
  idleTimeout: 0,
  compression: compresses ? uws.SHARED_COMPRESSOR : uws.DISABLED,
  open: (socket) => {
    if (fansOut) socket.subscribe('all')
  },
  // A message lives in memory of its own for the length of this call: text must be decoded.
  message: (socket, data) => {
    const text = Buffer.from(data).toString()
    if (fansOut) app.publish('all', text, false, compresses)
    else socket.send(text, false, compresses)
  },
})
app.listen('127.0.0.1', 0, (socket) => report(uws.us_socket_local_port(socket)))
