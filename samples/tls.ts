// Serves wss with a self-signed certificate, and trusts just that as a client. Make one and run:
// openssl req -x509 -newkey rsa:2048 -nodes -days 30 -keyout key.pem -out cert.pem \
//   -subj /CN=localhost -addext subjectAltName=DNS:localhost
// TLS_CERT=cert.pem TLS_KEY=key.pem node --conditions=source --import tsx samples/tls.ts
import { readFile } from 'node:fs/promises'
import { listen, once, WebsocketClient, WebsocketServer } from 'simplewebsockets'

const cert = await readFile(process.env.TLS_CERT ?? 'cert.pem')
const key = await readFile(process.env.TLS_KEY ?? 'key.pem')

const server = new WebsocketServer({ tls: { cert, key } })
listen(server, 'client', (client) => {
  listen(client, 'message', (message) => client.send(`in private: ${message}`))
})
const { port } = await server.serve(Number(process.env.PORT ?? 8443))
console.log(`listening on wss://localhost:${port}`)

const client = new WebsocketClient({ tls: { ca: cert } }) // trusts this certificate alone
const connection = await client.open(`wss://localhost:${port}`)
connection.send('hello')
console.log(await once(connection, 'message'))

await server.close()
