// A line to the chat: one WebSocket after the other, and the wait between them.

const FIRST_DELAY = 1_000
const LONGEST_DELAY = 30_000
const STABLE = 5_000 // a connection that lasted so long lets the delays begin anew
const SILENCE = 25_000 // before asking whether the server is still there
const PATIENCE = 8_000 // before taking its silence for a no

/**
 * Opens a line. `changed` hears of 'connecting', 'connected' and 'lost' (with the time of the next
 * try), `received` gets each message.
 */
export function openLine(url, { changed, received }) {
  let socket
  let attempt = 0
  let openedAt = 0
  let retrying
  let pulse

  function connect() {
    clearTimeout(retrying)
    retrying = undefined
    changed('connecting')
    socket = new WebSocket(url)
    socket.onopen = () => {
      openedAt = Date.now()
      listenForLife()
      changed('connected')
    }
    socket.onmessage = ({ data }) => {
      listenForLife()
      received(JSON.parse(data))
    }
    socket.onclose = lost
  }

  // A browser may take minutes to see that a network has gone, so we ask.
  function listenForLife() {
    clearTimeout(pulse)
    pulse = setTimeout(() => {
      send({ type: 'ping' })
      pulse = setTimeout(lost, PATIENCE)
    }, SILENCE)
  }

  function hangUp() {
    clearTimeout(pulse)
    clearTimeout(retrying)
    if (!socket) return
    socket.onopen = socket.onmessage = socket.onclose = null
    socket.close()
    socket = undefined
  }

  function lost() {
    const wasStable = openedAt > 0 && Date.now() - openedAt > STABLE
    hangUp()
    if (wasStable) attempt = 0
    openedAt = 0
    // A little chance keeps all the tabs of a restarted server from coming back in one moment.
    const delay =
      Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** attempt++) * (0.8 + Math.random() * 0.4)
    retrying = setTimeout(connect, delay)
    changed('lost', Date.now() + delay)
  }

  /** Tells whether it could be sent. */
  function send(message) {
    if (socket?.readyState !== WebSocket.OPEN) return false
    socket.send(JSON.stringify(message))
    return true
  }

  /** Doesn't wait for the next try. */
  function retry() {
    if (retrying !== undefined) connect()
  }

  addEventListener('online', retry)

  function close() {
    removeEventListener('online', retry)
    hangUp()
  }

  connect()
  return { send, retry, close }
}
