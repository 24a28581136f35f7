import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { makeChat } from './chat.ts'

/** A chat that runs. */
export interface RunningChat {
  readonly address: AddressInfo
  /** Closes all connections with 1001, and resolves when they have closed. */
  readonly close: () => Promise<void>
}

const FILES = new Map([
  ['/', 'page.html'],
  ['/page.css', 'page.css'],
  ['/page.js', 'page.js'],
  ['/icon.svg', 'icon.svg'],
])

const TYPES = new Map([
  ['html', 'text/html; charset=utf-8'],
  ['css', 'text/css; charset=utf-8'],
  ['js', 'text/javascript; charset=utf-8'],
  ['svg', 'image/svg+xml'],
])

const HEADERS = {
  'Content-Security-Policy': [
    "default-src 'none'",
    ...['connect', 'img', 'script', 'style'].map((kind) => `${kind}-src 'self'`),
    ...['base-uri', 'form-action', 'frame-ancestors'].map((kind) => `${kind} 'none'`),
  ].join('; '),
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Permissions-Policy': 'camera=(), geolocation=(), microphone=()',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
  'Cache-Control': 'no-cache',
}

/** Starts the chat and its page on a port; 0 picks a free one. */
export async function startChat(port = 8080, host = 'localhost'): Promise<RunningChat> {
  const chat = makeChat()
  const page = await servePage((room) => chat.room(room).size)
  const http = createServer(page).listen(port, host)
  await once(http, 'listening')
  chat.attach(http)
  return {
    address: http.address() as AddressInfo,
    close: async () => {
      const stopped = new Promise((resolve) => http.close(resolve))
      await chat.close()
      http.closeAllConnections()
      await stopped
    },
  }
}

interface Answer {
  readonly status: number
  readonly type: string
  readonly body: string | Buffer
}

/** Makes what answers the page's requests; `count` tells how many are in a room. */
async function servePage(
  count: (room: string) => number,
): Promise<(request: IncomingMessage, response: ServerResponse) => void> {
  const pages = new Map<string, Answer>()
  for (const [path, file] of FILES) {
    const type = TYPES.get(file.slice(file.lastIndexOf('.') + 1)) ?? ''
    pages.set(path, { status: 200, type, body: await contentOf(new URL(file, import.meta.url)) })
  }
  const answer = ({ method = '', url = '/' }: IncomingMessage): Answer => {
    // Not `new URL`: it throws for what a peer may well ask for.
    const [path = '', query] = url.split(/\?(.*)/s)
    if (method !== 'GET' && method !== 'HEAD') return plain(405, 'this is only to be read')
    // A new member hears of later joins and leaves, not of earlier ones: the page asks for the count.
    if (path === '/count')
      return json({ count: count(new URLSearchParams(query).get('room') ?? '') })
    if (path === '/chat') return plain(426, 'this is a WebSocket server')
    return pages.get(path) ?? plain(404, 'nothing is served here')
  }
  return (request, response) => {
    const { status, type, body } = answer(request)
    if (status === 405) response.setHeader('Allow', 'GET, HEAD')
    if (status === 426) response.setHeader('Upgrade', 'websocket')
    response.writeHead(status, { ...HEADERS, 'Content-Type': type }).end(body)
  }
}

/** Is a file as it is; a script with all that it imports, for a browser can't look for packages. */
async function contentOf(file: URL): Promise<string | Buffer> {
  if (!file.pathname.endsWith('.js')) return readFile(file)
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(file)],
    bundle: true,
    write: false,
    format: 'esm',
    conditions: ['source'],
  })
  return outputFiles[0]?.text ?? ''
}

function plain(status: number, text: string): Answer {
  return { status, type: 'text/plain; charset=utf-8', body: `${text}\n` }
}

function json(value: object): Answer {
  return { status: 200, type: 'application/json', body: JSON.stringify(value) }
}
