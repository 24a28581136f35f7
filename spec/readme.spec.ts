import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

const root = new URL('../', import.meta.url)
const readme = readFileSync(new URL('README.md', root), 'utf8')
const blocks = [...readme.matchAll(/^(?:<!-- (\S+) -->\n)?```ts\n(.*?)^```$/gms)]

for (const [, file, code] of blocks) {
  test(`the README shows ${file} as it is`, () => {
    assert.ok(file, 'a block of TypeScript is a sample: say which in a comment above it')
    assert.equal(code, readFileSync(new URL(file, root), 'utf8'))
  })
}

test('the README shows the samples it is about', () => {
  const shown = blocks.map(([, file]) => file)
  for (const name of [
    'echo-server',
    'echo-client',
    'bot',
    'rooms',
    'channels-chat/server',
    'json',
  ]) {
    assert.ok(shown.includes(`samples/${name}.ts`), name)
  }
})
