import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { build, type BuildOptions } from 'esbuild'
import type { Browser, Page } from 'playwright-core'
import { openPage } from './chromium.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

// Code that tsx compiles, a function for a page among it, calls `__name` to keep functions' names.
const PAGE = `<!doctype html>
  <script>var __name = (named) => named</script>
  <script src="script.js"></script>`

/** Bundles a program for browsers; what it exports becomes the global `spec`. */
export async function bundled(contents: string, options: BuildOptions = {}): Promise<string> {
  const { outputFiles = [] } = await build({
    stdin: { contents, resolveDir: root, loader: 'ts' },
    bundle: true,
    write: false,
    platform: 'browser',
    conditions: ['source'],
    target: 'es2022',
    format: 'iife',
    globalName: 'spec',
    logLevel: 'silent',
    ...options,
  })
  return outputFiles[0]?.text ?? ''
}

/** Serves an empty page that has run a script, which is there for workers, too. */
export async function serveScript(
  test: TestContext,
  script: string,
): Promise<{ readonly http: Server; readonly port: number }> {
  const http = createServer((request, response) => {
    const isScript = request.url === '/script.js'
    response.setHeader('Content-Type', isScript ? 'text/javascript' : 'text/html')
    // A page of no other origin may have memory that threads share.
    response.setHeader('Cross-Origin-Opener-Policy', 'same-origin')
    response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp')
    response.end(isScript ? script : PAGE)
  }).listen(0, 'localhost')
  await once(http, 'listening')
  test.after(() => {
    http.closeAllConnections()
    http.close()
  })
  return { http, port: (http.address() as AddressInfo).port }
}

/** Opens a page of a server on this machine; what it complains of is added to `complaints`. */
export async function visit(browser: Browser, port: number, complaints: string[]): Promise<Page> {
  const page = await openPage(browser, complaints)
  await page.goto(`http://localhost:${port}/`)
  return page
}
