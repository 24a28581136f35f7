// Joins a topic with a history through phoenix.js, as it is on npm, and asks for what was missed.
export function enter(socket, hear, reload) {
  let since
  const room = socket.channel('room:1', () => ({ name: 'ann', $since: since }))
  room.on('said', hear)
  room.onMessage = (event, payload) => {
    const { $offset: offset, $epoch: epoch = since?.epoch } = payload ?? {}
    if (since && offset) since = { epoch, offset }
    return payload
  }
  return room.join().receive('ok', ({ $history, recovered }) => {
    since = $history
    if (recovered === false) reload()
  })
}
