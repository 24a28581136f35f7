// A line to the chat: one connection after the other, and what is said on them.

import { listen, WebsocketClient } from 'simplewebsockets'

const SILENCE = 25_000 // before asking whether the server is still there
const PATIENCE = 8_000 // before taking its silence for a no
const SILENT = 4_000 // a close code of our own

/**
 * Opens a line. `changed` hears of 'connecting', 'connected' and 'lost' (with the time of the next
 * try, if there is to be one), `received` gets each message.
 */
export function openLine(url, { changed, received }) {
  const client = new WebsocketClient({ reconnect: true })
  const over = new AbortController()
  const { signal } = over

  listen(
    client,
    'connect',
    (connection) => {
      follow(connection)
      changed('connected')
    },
    { signal },
  )
  listen(client, 'retry', ({ delay }) => changed('lost', Date.now() + delay), { signal })
  listen(client, 'closed', () => changed('lost'), { signal })

  function open() {
    changed('connecting')
    client.open(url).catch((error) => error.log())
  }

  // A browser may take minutes to see that a network has gone, and can't ping: so we ask.
  function follow(connection) {
    let pulse
    const beat = () => {
      clearTimeout(pulse)
      pulse = setTimeout(() => {
        send({ type: 'ping' })
        pulse = setTimeout(() => connection.close(SILENT), PATIENCE)
      }, SILENCE)
    }
    beat()
    listen(connection, 'message', (message) => {
      beat()
      if (!signal.aborted) received(JSON.parse(message))
    })
    listen(connection, 'close', () => clearTimeout(pulse))
  }

  /** Tells whether it could be sent. */
  function send(message) {
    if (!client.isOpen) return false
    client.connection.send(JSON.stringify(message))
    return true
  }

  /** Doesn't wait for the next try. */
  async function retry() {
    if (client.isOpen) return
    await client.close()
    if (!signal.aborted) open()
  }

  function close() {
    over.abort()
    return client.close()
  }

  open()
  return { send, retry, close }
}
