import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { transform, type Loader } from 'esbuild'

const root = new URL('../../', import.meta.url)

interface Block {
  /** The sample that it says it is of. */
  readonly file: string | undefined
  readonly language: string
  readonly code: string
}

/** The blocks of a page. */
function blocksOf(page: string): Block[] {
  const text = readFileSync(new URL(page, root), 'utf8')
  const found = text.matchAll(/^(?:<!-- (\S+) -->\n)?```(\S*)\n(.*?)^```$/gms)
  return [...found].map(([, file, language = '', code = '']) => ({ file, language, code }))
}

/** Lines without what indents all of them. */
function outdented(lines: readonly string[]): string {
  const depths = lines.filter((line) => line !== '').map((line) => line.search(/\S/))
  return lines.map((line) => line.slice(Math.min(...depths))).join('\n')
}

/** Whether code is a sample, or lines of it that stand one after the other. */
function isPartOf(sample: string, code: string): boolean {
  const lines = sample.trimEnd().split('\n')
  const count = code.trimEnd().split('\n').length
  return lines.some((_, start) => outdented(lines.slice(start, start + count)) === code.trimEnd())
}

/** A pattern of what only a program has: a block without it is no program. */
const PROGRAM = /^import |\bawait |\bnew [A-Z]\w*\(|\b(listen|once|serve)\(|=>|^\s*(const|let) /m

/** Whether a page is a comparison: its blocks may look like programs, and are none. */
const isComparison = (page: string): boolean => page.startsWith('docs/coming-from/')

const pages = [
  'README.md',
  ...readdirSync(new URL('docs/', root), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md') && !/^(api|site)\//.test(name))
    .map((name) => `docs/${name}`)
    .sort(),
]

for (const page of [...pages, 'CHANGELOG.md', 'SECURITY.md']) {
  for (const { file, language, code } of blocksOf(page)) {
    if (/^[jt]sx?$/.test(language)) showsWhatRuns(page, file, code, language)
    else if (language === 'text') showsNoProgram(page, code)
    else test(`${page} has ${language}`, () => assert.match(language, /^(sh|nginx)$/))
  }
}

function showsWhatRuns(
  page: string,
  file: string | undefined,
  code: string,
  language: string,
): void {
  const what = file ?? code.slice(0, code.indexOf('\n'))
  test(`${page} shows ${what} as it is`, async () => {
    if (file !== undefined) {
      const sample = readFileSync(new URL(file, root), 'utf8')
      assert.ok(isPartOf(sample, code), `these are not lines of ${file}:\n${code}`)
      return
    }
    const isShort = page !== 'README.md' && code.trimEnd().split('\n').length <= 3
    assert.ok(isShort, `a block of more than three lines is of a sample: say which, not\n${code}`)
    await transform(code, { loader: language as Loader }) // it rejects what makes no sense
  })
}

function showsNoProgram(page: string, code: string): void {
  if (isComparison(page)) return
  test(`${page} shows a text, ${code.slice(0, code.indexOf('\n'))}`, () => {
    assert.doesNotMatch(code, PROGRAM, 'this is a program: let it be one of the samples')
  })
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

test('the README has at most 160 lines', () => {
  const lines = readFileSync(new URL('README.md', root), 'utf8').trimEnd().split('\n')
  assert.ok(lines.length <= 160, `it has ${lines.length}`)
})

test('the README shows a server, a client, and the forms of `listen`', () => {
  const shown = blocksOf('README.md').map(({ file }) => file)
  for (const name of ['echo-server', 'echo-client', 'listen']) {
    assert.ok(shown.includes(`samples/${name}.ts`), name)
  }
})

test('the README has the figures that the bench printed', () => {
  const results = readFileSync(new URL('bench/RESULTS.md', root), 'utf8').split('\n## ')
  const rows = readFileSync(new URL('README.md', root), 'utf8').matchAll(
    /^\| \[([\w-]+)\]\(bench\/RESULTS\.md#.* \| ([\d.]+) \| ([\d.]+|–) \| ([\d.]+|–) \|$/gm,
  )
  const figures = [...rows]
  assert.equal(figures.length, 8)
  for (const [, name = '', ...shown] of figures) {
    const section = results.find((one) => one.startsWith(`${name}\n`)) ?? ''
    const printed = ['ours', 'uws', 'socket.io'].map((peer) => {
      const row = section.split('\n').find((line) => new RegExp(`^\\| ${peer}[ *]* \\|`).test(line))
      return row?.split('|')[3]?.trim() ?? '–'
    })
    assert.deepEqual(shown, printed, name)
  }
})

test('what the docs tell to type is there', () => {
  const { scripts } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as {
    scripts: Record<string, string>
  }
  const typed = pages.flatMap(blocksOf).filter(({ language }) => language === 'sh')
  const text = typed.map(({ code }) => code).join()
  const files = [...text.matchAll(/\b(?:samples|spec|bench)\/[\w/.-]+\.ts\b/g)].map(
    ([file]) => file,
  )
  assert.ok(files.length > 0)
  assert.deepEqual(
    files.filter((file) => !existsSync(new URL(file, root))),
    [],
  )
  const ran = [...text.matchAll(/npm run (\S+)/g)].map(([, name = '']) => name)
  assert.deepEqual(
    ran.filter((name) => scripts[name] === undefined),
    [],
  )
})
