// A room through phoenix.js, unmodified: all that it knows of the server is what npm brings.
import { Presence, Socket } from './phoenix.mjs'

export const about = 'This page speaks with phoenix.js, as it is on npm.'

export function enter(room, name, view) {
  const socket = new Socket('/socket')
  const channel = socket.channel(`room:${room}`, { name })
  const presence = new Presence(channel)

  presence.onSync(() => view.here(presence.list((key) => key)))
  presence.onJoin((key, before) => before || view.cameIn(key))
  presence.onLeave((key, after) => after.metas.length > 0 || view.wentOut(key))
  channel.on('new_msg', view.heard)
  channel.onError(view.lost)
  socket.onClose(view.lost)
  channel
    .join()
    .receive('ok', view.entered)
    .receive('error', ({ reason }) => view.refused(reason))
    .receive('timeout', () => view.refused('The server does not answer.'))
  socket.connect()

  return {
    say: (body) =>
      new Promise((resolve, reject) => {
        const push = channel.push('new_msg', { body })
        push.receive('ok', resolve).receive('error', reject).receive('timeout', reject)
      }),
    leave() {
      channel.leave()
      socket.disconnect()
    },
  }
}
