import { readFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const FILES: Record<string, readonly [type: string, file: string]> = {
  '/': ['text/html', './page.html'],
  '/ours': ['text/html', './page.html'],
  '/page.css': ['text/css', '../chat/page.css'],
  '/icon.svg': ['image/svg+xml', '../chat/icon.svg'],
  '/page.js': ['text/javascript', './page.js'],
  '/with-phoenix.js': ['text/javascript', './with-phoenix.js'],
  '/phoenix.mjs': ['text/javascript', import.meta.resolve('phoenix')],
}

/** Makes what serves the two pages. */
export async function makeSite(): Promise<Server> {
  const ours = await bundle(new URL('./with-ours.js', import.meta.url))
  return createServer(({ url = '' }, response) => {
    const answer = (type: string, body: string | Buffer): void => {
      response.setHeader('Content-Type', `${type}; charset=utf-8`)
      response.end(body)
    }
    if (url === '/with-ours.js') return answer('text/javascript', ours)
    const [type, file] = Object.hasOwn(FILES, url) ? (FILES[url] ?? []) : []
    if (!type || !file) return response.writeHead(404).end()
    readFile(new URL(file, import.meta.url)).then((body) => answer(type, body), console.error)
  })
}

/** Is a script with all that it imports, for a browser can't look for packages. */
async function bundle(file: URL): Promise<string> {
  const { outputFiles } = await build({
    ...{ entryPoints: [fileURLToPath(file)], bundle: true, write: false },
    ...{ format: 'esm', platform: 'browser', conditions: ['source'] },
  })
  return outputFiles[0]?.text ?? ''
}
