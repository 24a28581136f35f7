import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'

const root = new URL('../', import.meta.url)

interface Block {
  /** The sample that it says it is. */
  readonly file: string | undefined
  readonly code: string
}

/** The blocks of TypeScript in a page. */
function blocksOf(page: string): Block[] {
  const text = readFileSync(new URL(page, root), 'utf8')
  const found = text.matchAll(/^(?:<!-- (\S+) -->\n)?```ts\n(.*?)^```$/gms)
  return [...found].map(([, file, code = '']) => ({ file, code }))
}

const pages = [
  'README.md',
  ...readdirSync(new URL('docs/', root), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md') && !name.startsWith('api'))
    .map((name) => `docs/${name}`)
    .sort(),
]

for (const page of pages) {
  for (const { file, code } of blocksOf(page)) {
    const isFragment = page !== 'README.md' && code.trimEnd().split('\n').length <= 3
    if (file === undefined && isFragment) continue
    test(`${page} shows ${file ?? 'a block'} as it is`, () => {
      assert.ok(
        file,
        `a block of more than three lines is a sample: say which above it, not\n${code}`,
      )
      assert.equal(code, readFileSync(new URL(file, root), 'utf8'))
    })
  }
}

test('every page of the docs is in the site, and every picture in a page', () => {
  const texts = pages.map((page) => readFileSync(new URL(page, root), 'utf8')).join('\n')
  const listed = JSON.parse(readFileSync(new URL('typedoc.json', root), 'utf8')) as {
    projectDocuments: string[]
  }
  const children = [...texts.matchAll(/^ {2}- \.\/(.*\.md)$/gm)].map(([, name]) => `docs/${name}`)
  const shown = [...listed.projectDocuments, ...children]
  assert.deepEqual(
    pages.filter((page) => page !== 'README.md' && !shown.includes(page)),
    [],
  )
  const pictures = readdirSync(new URL('docs/pictures/', root))
  assert.deepEqual(
    pictures.filter((name) => !texts.includes(`pictures/${name}`)),
    [],
  )
})

test('the README shows the samples it is about', () => {
  const shown = blocksOf('README.md').map(({ file }) => file)
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

test('the README has the figures that the bench printed', () => {
  const results = readFileSync(new URL('bench/RESULTS.md', root), 'utf8').split('\n## ')
  const rows = readFileSync(new URL('README.md', root), 'utf8').matchAll(
    /^\| \[([\w-]+)\]\(bench\/RESULTS\.md#.* \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$/gm,
  )
  const figures = [...rows]
  assert.ok(figures.length > 5)
  for (const [, name = '', ...shown] of figures) {
    const section = results.find((one) => one.startsWith(`${name}\n`)) ?? ''
    const printed = ['ours', 'uws', 'socket.io'].map((who) =>
      section
        .split('\n')
        .find((line) => new RegExp(`^\\| ${who}[ *]* \\|`).test(line))
        ?.split('|')[3]
        ?.trim(),
    )
    assert.deepEqual(shown, printed, name)
  }
})
