// The page: offers a fresh token at each attempt to connect, until the session has ended.
import { ConnectError, listen, WebsocketClient } from 'simplewebsockets'

async function freshToken() {
  const response = await fetch('/token', { method: 'POST' })
  if (response.status === 401) throw new ConnectError('sign in', { status: 401 }) // the end
  if (!response.ok) throw new Error(`no token: ${response.status}`) // tried again
  return response.text()
}

async function protocols() {
  const base64 = btoa(await freshToken()) // a subprotocol may have `+`, but no `=` and no `/`
  return ['chat', `base64url.bearer.phx.${base64.replaceAll('=', '').replaceAll('/', '_')}`]
}

const client = new WebsocketClient({ protocols, reconnect: true })
listen(client, 'connect', (connection) => {
  listen(connection, 'message', (message) => show(message))
})
listen(client, 'connectError', () => {}) // tried again, or `closed` follows
listen(client, 'closed', ({ code, description }) => show(`${code} ${description}`)) // show the login

const open = () => void client.open(`${location.origin}/live`)
document.getElementById('login').onclick = () => fetch('/login', { method: 'POST' }).then(open)
document.getElementById('logout').onclick = () => fetch('/logout', { method: 'POST' })
open()

function show(text) {
  document.getElementById('log').append(`${text}\n`)
}
