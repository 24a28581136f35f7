import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import ts from 'typescript'
import { closeCodeTexts, isSendableCloseCode } from 'simplewebsockets'

const root = new URL('../../', import.meta.url)
const plain = (text: string): string => text.replace(/\s+/g, ' ').replace(/…+/g, '…').trim()
const read = (file: string): string => readFileSync(new URL(file, root), 'utf8')
const errors = plain(read('docs/errors.md'))
const codes = read('docs/close-codes.md')

/**
 * Texts that have a space in them, and are no messages: heads of http, texts for `debug` and
 * loggers, names, Lua.
 */
const others: readonly RegExp[] = [
  /^(WWW-Authenticate|Allow|Upgrade|Retry-After|Connection|Sec-WebSocket-\w+|HTTP\/1\.1|text\/plain)\b/,
  /^…[;,]? ?…$|^an (array|instance) of …$/,
  /%[sdO]|^open by$|^Phoenix …$|^channel client$|^channel server$|^the membership$|^a join$/,
  /^joined …$|^closed …: …$|^closed: … …$|^connected to …$|^heartbeat \(|\(ignored\)|^… … \(…, …\)$/,
  /^a server's push on … can't be answered$|^retry=…$|^event of a …$|^… …$|^… \(…\)$|^\{ … \}$/,
  /redis\.call\(/,
]

/** Returns a text as the documentation has it: an ellipsis stands in for its parts. */
function textOf(node: ts.Node): string {
  if (ts.isStringLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node)) return node.text
  if (ts.isTemplateExpression(node)) {
    return node.head.text + node.templateSpans.map(({ literal }) => `…${literal.text}`).join('')
  }
  if (isSum(node)) return textOf(node.left) + textOf(node.right)
  return '…'
}

function isSum(node: ts.Node): node is ts.BinaryExpression {
  return ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.PlusToken
}

/** Whether a function makes what `console.log` prints of an object: no message. */
function printsObject(node: ts.Node): boolean {
  if (!ts.isMethodDeclaration(node) && !ts.isFunctionDeclaration(node)) return false
  return ['[INSPECT]', 'inspectLine'].includes(node.name?.getText() ?? '')
}

/** Collects the texts of more than a word, whole where they are put together. */
function textsIn(node: ts.Node): string[] {
  if (printsObject(node)) return []
  const inside: string[] = []
  node.forEachChild((child) => void inside.push(...textsIn(child)))
  const text = textOf(node)
  if (text === '…' || isSum(node.parent)) return inside
  return isSum(node) || /\S\s\S/.test(text) ? [plain(text), ...inside] : inside
}

const files = readdirSync(new URL('lib/', root), { recursive: true, encoding: 'utf8' }).filter(
  (file) => file.endsWith('.ts'),
)

// These say what a backplane and a store should do.
const SENTENCES = [
  ...['testing/backplane-contract.ts', 'testing/receiver.ts', 'testing/history-test-steps.ts'],
  ...['testing/history-storage-tests.ts', 'testing/history-subscription-tests.ts'],
]

for (const file of files.filter((name) => !SENTENCES.includes(name)).sort()) {
  const source = ts.createSourceFile(file, read(`lib/${file}`), ts.ScriptTarget.Latest, true)
  const texts = source.statements
    .flatMap((statement) => textsIn(statement))
    .filter((text) => /\S\s\S/.test(text) && !others.some((other) => other.test(text)))
    .filter((text) => ![...closeCodeTexts.values()].includes(text))
  if (texts.length === 0) continue
  test(`docs/errors.md has the messages of lib/${file}`, () => {
    const missing = [...new Set(texts)].filter((text) => !errors.includes(text))
    assert.deepEqual(missing, [], 'add each, with its cause and cure')
  })
}

/** Collects the code literals of a node, such as 'ERR_CLOSED'. */
function codesIn(node: ts.Node): string[] {
  const inside: string[] = []
  node.forEachChild((child) => void inside.push(...codesIn(child)))
  return ts.isStringLiteral(node) && node.text.startsWith('ERR_') ? [node.text, ...inside] : inside
}

/** Parses the table of codes in lib/errors.ts: "class code", for each code of each class. */
function declaredCodes(): string[] {
  const source = ts.createSourceFile('', read('lib/errors.ts'), ts.ScriptTarget.Latest, true)
  const table = source.statements.find(
    (statement) => ts.isInterfaceDeclaration(statement) && statement.name.text === 'ErrorCodes',
  )
  assert.ok(table && ts.isInterfaceDeclaration(table))
  return table.members.flatMap((member) =>
    codesIn(member).map((code) => `${member.name?.getText() ?? ''} ${code}`),
  )
}

/** Parses the codes of docs/errors.md: "class code", for each item that begins with a code. */
function documentedCodes(): string[] {
  const sections = read('docs/errors.md').split('\n## ').slice(1)
  return sections.flatMap((section) => {
    const [, owner = ''] = /^(\w+)/.exec(section) ?? []
    return [...section.matchAll(/^- \*\*`(ERR_\w+)`\*\*/gm)].map(
      ([, code = '']) => `${owner} ${code}`,
    )
  })
}

test('docs/errors.md has every code of every class once', () => {
  const declared = declaredCodes().map((each) => each.replace('RangeError', 'TypeError'))
  assert.deepEqual(documentedCodes().sort(), [...new Set(declared)].sort())
})

test('every code is used, and no other one', () => {
  const used = files
    .flatMap((file) => {
      const source = ts.createSourceFile(file, read(`lib/${file}`), ts.ScriptTarget.Latest, true)
      return source.statements
        .filter((each) => !ts.isInterfaceDeclaration(each) || each.name.text !== 'ErrorCodes')
        .flatMap((statement) => codesIn(statement))
    })
    .filter((code) => code !== 'ERR_BUFFER_TOO_LARGE') // of zlib
  const declared = declaredCodes().map((each) => each.split(' ')[1] ?? '')
  assert.deepEqual([...new Set(used)].sort(), [...new Set(declared)].sort())
})

test('docs/close-codes.md has every close code, its text, and whether it may be sent', () => {
  for (const [code, text] of closeCodeTexts) {
    const row = codes.split('\n').find((line) => line.startsWith(`| ${code} |`))
    assert.ok(row, `${code} is missing`)
    assert.ok(row.includes(`| ${text} |`), row)
    assert.equal(row.includes('| not sent |'), !isSendableCloseCode(code), row)
  }
})
