import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { test } from 'node:test'

const root = new URL('../../', import.meta.url)
const read = (file: string): string => readFileSync(new URL(file, root), 'utf8')

interface Sentence {
  readonly says: string
  /** The names of its specs, by their files. */
  readonly specs: readonly (readonly [file: string, name: string])[]
}

const rows = [...read('docs/guarantees.md').matchAll(/^\| (?=\S)(.*?) \| (.*) \|$/gm)]
const sentences: readonly Sentence[] = rows.map(([, says = '', cell = '']) => ({
  says,
  specs: [...cell.matchAll(/`([^`]+\.ts)`: ((?:\*[^*]+\*(?:, )?)+)/g)].flatMap(
    ([, file = '', names = '']) =>
      [...names.matchAll(/\*([^*]+)\*/g)].map(([, name = '']) => [file, name] as const),
  ),
}))

test('there are guarantees', () => {
  assert.ok(sentences.length > 30, `${sentences.length} were found`)
})

for (const { says, specs } of sentences) {
  test(`guaranteed, and tested: ${says}`, () => {
    assert.notEqual(specs.length, 0, 'it names no spec')
    for (const [file, name] of specs) {
      assert.ok(existsSync(new URL(file, root)), `there is no ${file}`)
      const source = read(file).replace(/\$\{(?:[^{}]|\{[^{}]*\})*\}/g, '…')
      assert.ok(source.includes(name), `no test of ${file} is called ${name}`)
    }
  })
}
