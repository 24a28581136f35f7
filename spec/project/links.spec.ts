import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'node:test'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** Pages in git, and new ones that are not ignored. */
const pages = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '*.md'], {
  cwd: root,
  encoding: 'utf8',
})
  .split('\n')
  .filter((page) => page !== '' && existsSync(root + page))

const withoutCode = (text: string): string =>
  text.replace(/^```.*?^```$/gms, '').replace(/(`+)[^`].*?\1/g, (code) => ' '.repeat(code.length))

/** Makes the anchor of a heading, as GitHub and typedoc do. */
const toAnchor = (heading: string): string =>
  heading
    .toLowerCase()
    .replace(/[^\p{Letter}\p{Number}\s_-]/gu, '')
    .trim()
    .replaceAll(' ', '-')

function anchorsOf(page: string): Set<string> {
  const text = readFileSync(root + page, 'utf8').replace(/^```.*?^```$/gms, '')
  return new Set([...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) => toAnchor(heading)))
}

/** Lists the links of a page that lead to no file, or to no heading of it. */
function brokenLinksOf(page: string): string[] {
  const links = [...withoutCode(readFileSync(root + page, 'utf8')).matchAll(/\]\(([^)\s]+)\)/g)]
  return links
    .map(([, link = '']) => link)
    .filter((link) => !/^[a-z]+:/.test(link))
    .filter((link) => {
      const [path = '', anchor] = link.split('#')
      const file = path === '' ? page : posix.join(posix.dirname(page), path)
      if (!existsSync(root + file)) return true
      return anchor !== undefined && file.endsWith('.md') && !anchorsOf(file).has(anchor)
    })
}

for (const page of pages) {
  test(`each link of ${page} leads to a file and a heading`, () => {
    assert.deepEqual(brokenLinksOf(page), [])
  })
}

test('code names pages of the docs that exist', () => {
  const sources = execFileSync(
    'git',
    ['grep', '-hoE', 'docs/[a-z/-]+\\.md', '--', 'lib', 'spec', 'bench', 'samples'],
    {
      cwd: root,
      encoding: 'utf8',
    },
  )
  const named = [...new Set(sources.trim().split('\n'))]
  assert.deepEqual(
    named.filter((page) => !existsSync(root + page)),
    [],
  )
})
