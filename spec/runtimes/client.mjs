// Tries one thing after the other with server.mjs, and prints what became of each as JSON.
import { ConnectError, listen, once, WebsocketClient } from 'simplewebsockets'

const TIME = 3_000
const [url] = process.argv.slice(2)
const outcomes = {}
const clients = []

async function open(way, options = {}) {
  const client = new WebsocketClient({ closeTimeout: 1_000, ...options })
  clients.push(client)
  return client.open(`${url}/${way}`)
}

/** Does it, and notes what was wrong: nothing at best. */
async function attempt(name, run) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('no answer')), TIME)
  })
  try {
    const wrong = await Promise.race([run(), late])
    outcomes[name] = wrong === undefined ? 'works' : String(wrong)
  } catch (error) {
    outcomes[name] = error.message
  } finally {
    clearTimeout(timer)
    for (const client of clients.splice(0)) client.close()
  }
}

function differs(actual, expected) {
  const [one, other] = [actual, expected].map((value) => JSON.stringify(value))
  return one === other ? undefined : `${one} instead of ${other}`
}

async function answers(connection, message) {
  const answer = once(connection, 'message')
  connection.send(message)
  return answer
}

await attempt('text', async () => differs(await answers(await open('a'), 'grüße 😀'), 'grüße 😀'))

await attempt('binary', async () => {
  const bytes = await answers(await open('a'), Uint8Array.of(0, 1, 255))
  return bytes instanceof Uint8Array ? differs([...bytes], [0, 1, 255]) : typeof bytes
})

await attempt('empty messages', async () => {
  const connection = await open('a')
  return differs(
    [await answers(connection, ''), (await answers(connection, new Uint8Array(0))).length],
    ['', 0],
  )
})

await attempt('a thousand messages in order', async () => {
  const connection = await open('a')
  for (let count = 0; count < 1_000; count++) connection.send(`echo ${count}`)
  for (let count = 0; count < 1_000; count++) {
    const message = await once(connection, 'message')
    if (message !== `echo ${count}`) return `${message} instead of echo ${count}`
  }
})

await attempt('a message of 3 MiB', async () =>
  differs((await answers(await open('a'), 'x'.repeat(3 << 20))).length, 3 << 20),
)

await attempt('closing with 3001', async () => {
  const { code, description } = await (await open('a')).close(3001, 'enough')
  return differs([code, description], [3001, 'enough'])
})

await attempt('being closed with 4000', async () => {
  const connection = await open('a')
  connection.send('close')
  const { code, description } = await once(connection, 'close')
  return differs([code, description], [4000, 'as you wish'])
})

await attempt('1009 for a message too big', async () => {
  const connection = await open('a')
  connection.send('x'.repeat(5 << 20))
  const { code, description } = await once(connection, 'close')
  return differs([code, description], [1009, 'Maximum message size of 4194304 Bytes exceeded'])
})

await attempt('a subprotocol', async () =>
  differs((await open('a', { protocols: ['v0', 'v1'] })).protocol, 'v1'),
)

await attempt('headers', async () =>
  differs(await answers(await open('a', { headers: { 'x-who': 'me' } }), 'header x-who'), 'me'),
)

await attempt('a refusal is a ConnectError', async () => {
  const error = await open('refused').catch((cause) => cause)
  return error instanceof ConnectError ? undefined : String(error)
})

await attempt('… with the status', async () =>
  differs((await open('refused').catch((cause) => cause)).status, 401),
)

await attempt('emit, and broadcast', async () => {
  const [one, other] = [await open('a'), await open('b')]
  const heard = [once(one, 'message'), once(other, 'message')]
  one.send('emit to all')
  const both = await Promise.all(heard)
  const others = once(other, 'message')
  one.send('broadcast to others')
  return differs([...both, await others], ['to all', 'to all', 'to others'])
})

await attempt('compression', async () => {
  const connection = await open('a', { compression: { threshold: 0 } })
  return differs(await answers(connection, 'so '.repeat(1_000)), 'so '.repeat(1_000))
})

await attempt('a ping from the client', async () =>
  differs(typeof (await (await open('a')).ping('hello')), 'number'),
)

await attempt('… of which the server hears', async () => {
  const connection = await open('a')
  const heard = once(connection, 'message')
  connection.ping('hello')
  return differs(await heard, 'pinged hello')
})

await attempt('a ping from the server', async () =>
  differs(await answers(await open('a'), 'ping'), 'number'),
)

await attempt('fragments', async () => {
  const connection = await open('a', { fragmentationThreshold: 100 })
  return differs(await answers(connection, 'x'.repeat(1_000)), 'x'.repeat(1_000))
})

await attempt('a silence that both ends keep alive through', async () => {
  const connection = await open('a', { keepaliveTimeout: 200 })
  await new Promise((resolve) => setTimeout(resolve, 1_500))
  const echoed = new Promise((resolve) => {
    listen(connection, 'message', (message) => message === 'still here' && resolve(message))
  })
  connection.send('still here')
  return differs(await echoed, 'still here')
})

await attempt('`drain`, after much was sent', async () => {
  const connection = await open('a')
  listen(connection, 'message', () => {})
  let sent = 0
  // A runtime that writes at once may find a network that takes all there is: then nothing drains.
  while (connection.send(new Uint8Array(1 << 20))) if (++sent === 14) return undefined
  await once(connection, 'drain')
  return differs(connection.bufferedAmount, 0)
})

await attempt('`maxReceivedFrameSize`', async () => {
  const connection = await open('a', { maxReceivedFrameSize: 100 })
  connection.send('x'.repeat(200))
  return differs((await once(connection, 'close')).code, 1008)
})

console.log(JSON.stringify(outcomes))
process.exit(0)
