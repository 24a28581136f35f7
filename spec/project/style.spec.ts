import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import { test } from 'node:test'
import ts from 'typescript'

const LIB = new URL('../../lib/', import.meta.url)
const MAX_FILES = 12 // in a folder

const files = readdirSync(LIB, { recursive: true, encoding: 'utf8' }).filter((file) =>
  file.endsWith('.ts'),
)

interface Comment {
  readonly where: string
  readonly text: string
}

/** The comments of a file, without what is inside of strings. */
function commentsOf(file: string): Comment[] {
  const text = readFileSync(new URL(file, LIB), 'utf8')
  const scanner = ts.createScanner(ts.ScriptTarget.Latest, false, ts.LanguageVariant.Standard, text)
  const found: Comment[] = []
  const templates: number[] = []
  let depth = 0
  for (let kind = scanner.scan(); kind !== ts.SyntaxKind.EndOfFileToken; kind = scanner.scan()) {
    if (kind === ts.SyntaxKind.TemplateHead) templates.push(depth)
    if (kind === ts.SyntaxKind.OpenBraceToken) depth++
    if (kind === ts.SyntaxKind.CloseBraceToken) {
      if (templates.at(-1) === depth) {
        if (scanner.reScanTemplateToken(false) === ts.SyntaxKind.TemplateTail) templates.pop()
        continue
      }
      depth--
    }
    const isBlock = kind === ts.SyntaxKind.MultiLineCommentTrivia
    if (!isBlock && kind !== ts.SyntaxKind.SingleLineCommentTrivia) continue
    const comment = scanner.getTokenText()
    const line = text.slice(0, scanner.getTokenStart()).split('\n').length
    found.push({
      where: `lib/${file}:${line}`,
      text: comment.replaceAll(/^\s*(\/\*\*?|\*\/|\*|\/\/)/gm, '').trim(),
    })
  }
  return found
}

const comments = files.flatMap(commentsOf)

test('comments name their actors', () => {
  const banned = /\b(somebody|nobody|anybody|everybody|someone|whoever|whomever|whom)\b/i
  assert.deepEqual(
    comments.filter(({ text }) => banned.test(text)),
    [],
  )
})

test(`no folder has more than ${MAX_FILES} files`, () => {
  const counts = new Map<string, number>()
  for (const file of files) {
    const folder = posix.dirname(file)
    counts.set(folder, (counts.get(folder) ?? 0) + 1)
  }
  assert.deepEqual(
    [...counts].filter(([, count]) => count > MAX_FILES),
    [],
  )
})
