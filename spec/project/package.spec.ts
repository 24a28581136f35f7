import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { after, before, suite, test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { build } from 'vite'
import { missing } from '../support/missing.ts'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../..', import.meta.url))
const compilers = join(root, 'spec/package/node_modules')
const CURE = 'not installed here: get it with `npm ci --prefix spec/package`'

/** The compiler settings of a program of Node and of one of a page, by how imports are found. */
const settings: Record<string, { files: string[]; options: Record<string, unknown> }> = {
  'nodenext resolution': {
    files: ['program.ts', 'typed.ts'],
    options: {
      module: 'nodenext',
      types: ['node'],
      allowImportingTsExtensions: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
    },
  },
  'bundler resolution': {
    files: ['program.ts'],
    options: { module: 'esnext', moduleResolution: 'bundler', types: ['node'] },
  },
  'bundler resolution, for a browser': {
    files: ['page.ts'],
    options: {
      module: 'esnext',
      moduleResolution: 'bundler',
      customConditions: ['browser'],
      lib: ['es2022', 'dom', 'dom.iterable'],
      types: [],
      skipLibCheck: true, // a page has no types of Node, which some options name
    },
  },
}

suite('the packed package', { concurrency: 1, timeout: 300_000 }, () => {
  let place = ''
  let own = ''

  before(async () => {
    place = await mkdtemp(join(tmpdir(), 'package-'))
    own = await install(place)
  })
  after(() => rm(place, { recursive: true }))

  test('has code, sources for its source maps, and the docs', async () => {
    const files = await readdir(own, { recursive: true })
    const folders = ['bench', 'dist', 'docs', 'lib', 'samples']
    const pages = ['CHANGELOG.md', 'CONTRIBUTING.md', 'LICENSE', 'README.md', 'SECURITY.md']
    assert.deepEqual((await readdir(own)).sort(), [...pages, ...folders, 'package.json'].sort())
    assert.deepEqual(
      files.filter((file) => /spec|tsconfig|^lib.*\.js|^docs.(site|api.assets)/.test(file)),
      [],
    )
    const maps = files.filter((file) => file.endsWith('.map'))
    assert.ok(maps.length > 100)
    for (const map of maps) {
      const { sources } = JSON.parse(await readFile(join(own, map), 'utf8')) as {
        sources: string[]
      }
      for (const source of sources) {
        const file = join(dirname(join(own, map)), source)
        assert.ok(existsSync(file), `${map} points to ${relative(own, file)}`)
      }
    }
  })

  test('has an API reference in markdown, with every name of each entry point', async () => {
    const exported = await import('simplewebsockets')
    const page = await readFile(join(own, 'docs/api/simplewebsockets.md'), 'utf8')
    const names = Object.keys(exported)
    assert.ok(names.length > 10)
    assert.deepEqual(
      names.filter((name) => !new RegExp(`^### ${name}(\\(\\))?$`, 'm').test(page)),
      [],
    )
    for (const entry of ['channels', 'redis', 'nats', 'testing']) {
      assert.ok(existsSync(join(own, `docs/api/simplewebsockets/${entry}.md`)), entry)
    }
  })

  test('has every file that its README and its docs link to', async () => {
    const files = await readdir(own, { recursive: true })
    for (const page of files.filter((file) => /^(README|docs.*)\.md$/.test(file))) {
      const text = (await readFile(join(own, page), 'utf8')).replace(/^```.*?^```$/gms, '')
      const links = [...text.matchAll(/\]\(([^)\s#]+)[^)\s]*\)/g)].map(([, link = '']) => link)
      const broken = links.filter(
        (link) => !/^[a-z]+:/.test(link) && !existsSync(join(own, dirname(page), link)),
      )
      assert.deepEqual([page, broken], [page, []])
    }
  })

  for (const program of ['program.ts', 'program.cjs']) {
    test(`works from JavaScript: ${program.replace('.ts', '.js')}`, async () => {
      const file = program === 'program.ts' ? await compiled(place) : program
      const { stdout } = await run(process.execPath, [file], { cwd: place, timeout: 30_000 })
      assert.equal(stdout, 'every entry works\n')
    })
  }

  for (const version of ['5.9', '6', '7']) {
    for (const [name, { files, options }] of Object.entries(settings)) {
      test(`is typed for TypeScript ${version} with ${name}`, async (t) => {
        const compiler = findCompiler(t, version)
        if (compiler === undefined) return
        await compile(compiler, place, files, { ...options, noEmit: true })
      })
    }
  }

  test('goes into a page by Vite, and nothing of Node with it', async () => {
    await writeFile(
      join(place, 'index.html'),
      '<!doctype html><script type="module" src="page.ts"></script>',
    )
    const built = await build({ root: place, logLevel: 'silent', build: { write: false } })
    const outputs = [built].flat().flatMap((each) => ('output' in each ? each.output : []))
    const code = outputs.map((each) => ('code' in each ? each.code : '')).join('\n')
    assert.match(code, /WebSocket/)
    assert.doesNotMatch(code, /node:|__vite-browser-external|require\(/)
    assert.ok(code.length < 150_000, `${code.length} characters`)
  })
})

/** Packs ours, and puts it and what it depends on into an empty folder, without a network. */
async function install(place: string): Promise<string> {
  const modules = join(place, 'node_modules')
  const own = join(modules, 'simplewebsockets')
  await mkdir(join(modules, '@types'), { recursive: true })
  await run('npm', ['pack', '--pack-destination', place], { cwd: root })
  const [tarball = ''] = (await readdir(place)).filter((file) => file.endsWith('.tgz'))
  await run('tar', ['-xzf', tarball], { cwd: place })
  await rename(join(place, 'package'), own)
  const others = ['ws', 'mitt', 'debug', 'ms', '@types/node', 'undici-types', 'zod', 'valibot']
  for (const name of others) {
    await cp(join(root, 'node_modules', name), join(modules, name), { recursive: true })
  }
  for (const name of ['program.ts', 'program.cjs', 'page.ts']) {
    await cp(join(root, 'spec/installed', name), join(place, name))
  }
  const typed = await readFile(join(root, 'spec/project/typed.spec.ts'), 'utf8')
  await writeFile(join(place, 'typed.ts'), typed.replace('../support/', './'))
  await cp(join(root, 'spec/support/exactly.ts'), join(place, 'exactly.ts'))
  await writeFile(join(place, 'package.json'), JSON.stringify({ type: 'module' }))
  return own
}

/** Compiles the program with our own compiler: what runs then is plain JavaScript. */
async function compiled(place: string): Promise<string> {
  const compiler = join(root, 'node_modules/typescript/bin/tsc')
  const options = { module: 'nodenext', types: ['node'], outDir: 'out', rootDir: '.' }
  await compile(compiler, place, ['program.ts'], options)
  return 'out/program.js'
}

/** Compiles without a word of complaint, also about our declarations. */
async function compile(
  compiler: string,
  place: string,
  files: string[],
  options: Record<string, unknown>,
): Promise<void> {
  const compilerOptions = { target: 'es2022', strict: true, ...options }
  await writeFile(join(place, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }))
  await run(process.execPath, [compiler, '-p', place]).catch((error: unknown) => {
    assert.fail(String(Reflect.get(Object(error) as object, 'stdout')))
  })
}

/** Skips a test where a compiler is missing, save in CI, where a skip would go unnoticed. */
function findCompiler(t: TestContext, version: string): string | undefined {
  const file = join(compilers, `typescript-${version}/bin/tsc`)
  if (existsSync(file)) return file
  t.skip(missing(`TypeScript ${version} is ${CURE}`))
  return undefined
}
