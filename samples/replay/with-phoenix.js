// Joins a topic with a history through phoenix.js, as it is on npm, and asks for what was missed.
export function enter(socket, hear, reload) {
  let seen
  const room = socket.channel('room:1', () => ({ name: 'ann', $seen: seen }))
  room.on('said', hear)
  room.onMessage = (event, payload) => {
    const [sender, n] = payload?.$position?.split(':') ?? []
    if (seen && sender) seen[sender] = Number(n)
    return payload
  }
  return room.join().receive('ok', ({ $seen, recovered }) => {
    seen = $seen
    if (recovered === false) reload()
  })
}
