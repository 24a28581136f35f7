// Uses what a page has of the package, with no types but those of a browser.
import { listen, once, WebsocketClient, type Data } from 'simplewebsockets'
import { ChannelClient, Presence } from 'simplewebsockets/channels'

const client = new WebsocketClient({ reconnect: true })
listen(client, 'connect', (connection) => {
  listen(connection, 'message', (message) => void connection.send(message.length))
  // @ts-expect-error: an unknown event
  listen(connection, 'mesage', () => {})
})
export const first: Promise<Data> = client
  .open('wss://example.com')
  .then((connection) => once(connection, 'message'))

const channel = new ChannelClient().channel<{ said: { text: string } }>('room:1')
listen(channel.messages, 'said', ({ payload }) => void payload.text.trim())
export const here = new Presence<{ name: string }>(channel)
