// The same room through our own client.
import { listen } from 'simplewebsockets'
import { ChannelClient, Presence } from 'simplewebsockets/channels'

export const about = 'This page speaks with the client of simplewebsockets.'

export function enter(room, name, view) {
  const client = new ChannelClient()
  const channel = client.channel(`room:${room}`, { name })
  const presence = new Presence(channel)

  listen(presence, 'sync', () => view.here([...presence].map(([key]) => key)))
  listen(presence, 'join', ({ key, before }) => before.length > 0 || view.cameIn(key))
  listen(presence, 'leave', ({ key, after }) => after.length > 0 || view.wentOut(key))
  listen(channel.messages, 'new_msg', ({ payload }) => view.heard(payload))
  listen(channel, 'join', view.entered)
  listen(channel, 'error', view.lost)
  listen(client, 'close', view.lost)
  channel.join().catch(({ reply }) => view.refused(reply?.reason ?? 'The server does not answer.'))
  client.open('/socket').catch(view.lost)

  return {
    say: (body) => channel.push('new_msg', { body }),
    leave: () => channel.leave().then(() => client.close()),
  }
}
