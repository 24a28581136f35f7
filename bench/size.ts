// Prints what a browser has to load: minified and gzipped, and which part takes how much.
// Run: npm run size
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

interface Bundle {
  readonly what: string
  readonly contents: string
  /** Bytes, gzipped. A size above it needs a decision by a maintainer. */
  readonly most: number
}

const bundles: readonly Bundle[] = [
  {
    what: 'client',
    contents: `import { listen, WebsocketClient } from 'simplewebsockets'
      globalThis.spoken = [listen, WebsocketClient]`,
    most: 16_000,
  },
  {
    what: 'client + channels + presence',
    contents: `import { listen } from 'simplewebsockets'
      import { ChannelClient, Presence } from 'simplewebsockets/channels'
      globalThis.spoken = [listen, ChannelClient, Presence]`,
    most: 30_300,
  },
]

const row = (name: string, bytes: number, share: number): void =>
  console.log(name.padEnd(36), String(bytes).padStart(8), String(Math.round(share)).padStart(8))

for (const { what, contents, most } of bundles) {
  const { outputFiles, metafile } = await build({
    stdin: { contents, resolveDir: fileURLToPath(new URL('..', import.meta.url)) },
    bundle: true,
    minify: true,
    write: false,
    metafile: true,
    platform: 'browser',
    conditions: ['source'],
    format: 'esm',
    target: 'es2022',
  })
  const whole = outputFiles[0]?.contents ?? new Uint8Array(0)
  const zipped = gzipSync(whole, { level: 9 }).length
  const [output] = Object.values(metafile.outputs)
  const parts = Object.entries(output?.inputs ?? {})
    .map(([file, { bytesInOutput }]) => ({ file, bytes: bytesInOutput }))
    .filter(({ file }) => file !== '<stdin>')
    .sort((one, other) => other.bytes - one.bytes)

  console.log(what.padEnd(36), 'minified'.padStart(8), 'gzipped'.padStart(8))
  for (const { file, bytes } of parts) row(file, bytes, (bytes / whole.length) * zipped) // its share
  row('all', whole.length, zipped)
  console.log()
  if (zipped <= most) continue
  console.error(`${what}: more than ${most} bytes gzipped`)
  process.exitCode = 1
}
