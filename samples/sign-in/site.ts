// The page of the sample, and its script with all that it imports.
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import express from 'express'

const PAGE = `<!doctype html><title>Sign in</title><button id="login">Sign in</button>
  <button id="logout">Sign out</button><pre id="log"></pre><script src="page.js" defer></script>`

const { outputFiles } = await build({
  ...{ entryPoints: [fileURLToPath(new URL('page.js', import.meta.url))], bundle: true },
  ...{ write: false, conditions: ['source'] },
})

export const site = express.Router()
site.get('/', (_, response) => void response.send(PAGE))
site.get('/page.js', (_, response) => void response.type('js').send(outputFiles[0]?.text))
