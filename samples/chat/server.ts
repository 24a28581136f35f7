import { startChat, type RunningChat } from './site.ts'

const { PORT = '', HOST = '' } = process.env
const port = PORT === '' ? 8080 : Number(PORT)
const host = HOST === '' ? 'localhost' : HOST
let stopping: Promise<void> | undefined

try {
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new Error(`PORT is to be a whole number from 0 to 65535, not ${PORT}.`)
  }
  const chat = await startChat(port, host)
  console.log(`Chat: ${whereIs(chat)} (open it in two tabs and talk to yourself; Ctrl+C stops it)`)
  // Not `once`: npm passes a Ctrl+C on to us that we have got already.
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => void stop(chat))
} catch (error) {
  console.error(explain(error))
  process.exitCode = 1
}

function stop(chat: RunningChat): Promise<void> {
  if (!stopping) console.log('\nGood bye.')
  return (stopping ??= chat.close())
}

function whereIs({ address }: RunningChat): string {
  const everywhere = host === '0.0.0.0' || host === '::'
  const name = everywhere ? 'localhost' : host.includes(':') ? `[${host}]` : host
  return `http://${name}:${address.port}`
}

function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { code } = error as NodeJS.ErrnoException
  const other = port < 65_535 && port >= 1024 ? port + 1 : 8080
  const cure = `Choose another one: PORT=${other} npm start`
  if (code === 'EADDRINUSE') return `Port ${port} on ${host} is in use already. ${cure}`
  if (code === 'EACCES') return `Port ${port} is not for this user to open. ${cure}`
  return code === undefined ? error.message : `Can't listen on ${host}: ${error.message}`
}
