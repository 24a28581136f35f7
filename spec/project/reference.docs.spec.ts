import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import { test } from 'node:test'
import ts from 'typescript'

const root = new URL('../../', import.meta.url)
const read = (file: string): string => readFileSync(new URL(file, root), 'utf8')

/** Where docs/options.md has the options of some interfaces: a heading, and what names begin with. */
interface Place {
  readonly heading: string
  readonly prefix?: string
  readonly interfaces: readonly string[]
}

const optionPlaces: readonly Place[] = [
  { heading: 'Every connection', interfaces: ['ConnectionOptions'] },
  { heading: 'Every connection', prefix: 'compression.', interfaces: ['Compression'] },
  { heading: 'WebsocketServer', interfaces: ['ServerOptions'] },
  { heading: 'WebsocketServer', prefix: 'rateLimit.', interfaces: ['RateLimit'] },
  { heading: 'WebsocketClient', interfaces: ['ClientOptions'] },
  { heading: 'WebsocketClient', prefix: 'reconnect.', interfaces: ['ReconnectOptions'] },
  { heading: 'ChannelServer', interfaces: ['ChannelServerOptions'] },
  { heading: 'ChannelServer', prefix: 'joinRate.', interfaces: ['JoinRate'] },
  { heading: 'Topics', interfaces: ['TopicOptions', 'Contract'] },
  { heading: 'Topics', prefix: 'history.', interfaces: ['HistoryOptions'] },
  { heading: 'ChannelClient', interfaces: ['ChannelClientOptions'] },
  { heading: 'ChannelClient', prefix: 'rejoin.', interfaces: ['RejoinOptions'] },
  { heading: 'Redis and NATS', interfaces: ['BrokerOptions', 'RedisHistoryOptions'] },
  ...inCalls({
    listen: 'ListenOptions',
    once: 'OnceOptions',
    json: 'JsonOptions',
    codec: 'CodecOptions',
    'server.close': 'CloseOptions',
    'request.token': 'TokenOptions',
    'request.basicAuth': 'BasicAuthOptions',
    accept: 'AcceptOptions',
    'channel.push': 'PushOptions',
    'new Presence': 'PresenceOptions',
    memoryHistory: 'MemoryHistoryOptions',
    pair: 'PairOptions',
    historyContract: 'HistoryContractOptions',
  }),
  {
    heading: 'Functions and methods',
    prefix: 'request.basicAuth query.',
    interfaces: ['QueryNames'],
  },
]

/** Options that no interface has: they are declared where they are taken. */
const inlineOptions: readonly string[] = ['client.open signal', 'room.emit except']

/** The interfaces that are named like options, and are none of a program. */
const noOptions: readonly string[] = ['NatsSubscribeOptions'] // the backplane gives them to NATS

const eventPlaces: Readonly<Record<string, string>> = {
  WebsocketServer: 'ServerEvents',
  WebsocketClient: 'ClientEvents',
  WebsocketConnection: 'ConnectionEvents',
  Room: 'RoomEvents',
  ChannelServer: 'ChannelServerEvents',
  Topic: 'TopicEvents',
  Channel: 'ChannelEvents',
  ChannelClient: 'ChannelClientEvents',
  Presence: 'PresenceEvents',
}

function inCalls(interfaces: Readonly<Record<string, string>>): Place[] {
  return Object.entries(interfaces).map(([call, name]) => {
    return { heading: 'Functions and methods', prefix: `${call} `, interfaces: [name] }
  })
}

/** A member of an interface. */
interface Member {
  readonly name: string
  /** The text of its `@default`. */
  readonly fallback: string | undefined
}

const sources = new Map(
  readdirSync(new URL('lib/', root), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => {
      const source = ts.createSourceFile(file, read(`lib/${file}`), ts.ScriptTarget.Latest, true)
      return [file, source] as const
    }),
)

/** Returns the interface or type that a file declares; undefined for a name of anything else. */
function find(
  name: string,
  file?: string,
): ts.InterfaceDeclaration | ts.TypeAliasDeclaration | undefined {
  const files = file === undefined ? [...sources.values()] : [sources.get(file)]
  return files
    .flatMap((source) => source?.statements ?? [])
    .filter((each) => ts.isInterfaceDeclaration(each) || ts.isTypeAliasDeclaration(each))
    .find((each) => each.name.text === name)
}

/** Collects the interfaces that an entry point exports. */
function exportedInterfaces(entry: string): ts.InterfaceDeclaration[] {
  return (sources.get(entry)?.statements ?? []).flatMap((statement) => {
    if (ts.isInterfaceDeclaration(statement)) return [statement]
    if (!ts.isExportDeclaration(statement)) return []
    const { exportClause, moduleSpecifier } = statement
    if (!exportClause || !ts.isNamedExports(exportClause)) return []
    assert.ok(moduleSpecifier && ts.isStringLiteral(moduleSpecifier))
    const file = posix.join(posix.dirname(entry), moduleSpecifier.text)
    return exportClause.elements
      .map(({ name }) => find(name.text, file))
      .filter((each) => each !== undefined)
      .filter((each) => ts.isInterfaceDeclaration(each))
  })
}

const entries = ['index.ts', 'channels/index.ts', 'redis.ts', 'nats.ts', 'testing/index.ts']
const exported = new Map(
  entries.flatMap(exportedInterfaces).map((each) => [each.name.text, each] as const),
)

/** Collects an interface's own members, and those of bases that no entry point exports. */
function membersOf(declaration: ts.InterfaceDeclaration): Member[] {
  const bases = (declaration.heritageClauses ?? [])
    .flatMap(({ types }) => types.map(({ expression }) => expression.getText()))
    .filter((name) => !exported.has(name) && name !== 'Omit')
    .map((name) => find(name))
    .filter((base) => base !== undefined)
    .filter((base) => ts.isInterfaceDeclaration(base))
  const own = declaration.members
    .filter((member) => ts.isPropertySignature(member))
    .map((member) => ({ name: member.name.getText(), fallback: defaultOf(member) }))
  return [...own, ...bases.flatMap((base) => membersOf(base))]
}

function defaultOf(member: ts.Node): string | undefined {
  const tag = ts.getJSDocTags(member).find(({ tagName }) => tagName.text === 'default')
  return tag && (ts.getTextOfJSDocComment(tag.comment) ?? '')
}

/** Returns the interfaces of options: by their names, or because members have a default. */
function optionInterfaces(): Map<string, Member[]> {
  const members = [...exported].map(([name, each]) => [name, membersOf(each)] as const)
  return new Map(
    members
      .filter(([name]) => !/(Init|Details)$/.test(name) && !noOptions.includes(name))
      .filter(([name, all]) => {
        return name.endsWith('Options') || all.some(({ fallback }) => fallback !== undefined)
      }),
  )
}

/** Parses the tables of a page: the cells of each row, by heading. */
function tablesOf(page: string): Map<string, string[][]> {
  const sections = read(page).split('\n## ').slice(1)
  return new Map(
    sections.map((section) => {
      const [heading = '', ...lines] = section.split('\n')
      const rows = lines
        .filter((line) => line.startsWith('|'))
        .slice(2) // the head, and the line under it
        .map((line) => line.split(/(?<!\\)\|/).slice(1, -1))
        .map((cells) => cells.map((cell) => cell.trim()))
      return [heading, rows]
    }),
  )
}

/** A row of docs/options.md: `call option`, or `option`. */
interface OptionRow extends Member {
  readonly heading: string
}

function optionRows(): OptionRow[] {
  return [...tablesOf('docs/options.md')].flatMap(([heading, rows]) => {
    return rows.flatMap((cells) => {
      const [name, fallback] = cells.slice(-3)
      if (name?.startsWith('`') !== true) return [] // an argument
      const call = cells.length === 4 ? `${cells[0]} ` : ''
      return [{ heading, name: `${call}${name}`.replaceAll('`', ''), fallback }]
    })
  })
}

const UNITS: Readonly<Record<string, number>> = { KiB: 1024, MiB: 1024 ** 2, s: 1_000 }

/**
 * Returns the values that a default names: numbers without their units, texts in quotes, true and
 * false. The words around them may differ. Where there are only words, returns those.
 */
function valuesOf(fallback: string): string[] {
  const values = [
    ...fallback.matchAll(/\b(\d[\d_,]*\d|\d)(?: (KiB|MiB|s)\b)?|'[^']*'|\b(?:true|false)\b/g),
  ]
  if (values.length === 0) return [fallback.replaceAll('`', '').replace(/\s+/g, ' ').trim()]
  return values.map(([text, digits, unit = '']) => {
    if (digits === undefined) return text
    return String(Number(digits.replaceAll(/[_,]/g, '')) * (UNITS[unit] ?? 1))
  })
}

const rows = optionRows()
const options = optionInterfaces()

for (const { heading, prefix = '', interfaces } of optionPlaces) {
  const members = interfaces.flatMap((name) => options.get(name) ?? [])
  const isHere = (row: OptionRow): boolean => {
    const rest = row.name.slice(prefix.length)
    return row.heading === heading && row.name.startsWith(prefix) && !/[. ]/.test(rest)
  }
  const here = rows.filter(isHere).map(({ name, ...row }) => {
    return { ...row, name: name.slice(prefix.length) }
  })
  test(`docs/options.md has each option of ${interfaces.join(' and ')} once, and no other`, () => {
    assert.deepEqual(
      here.map(({ name }) => name).sort(),
      members.map(({ name }) => name).sort(),
      `under "${heading}"`,
    )
  })
  test(`docs/options.md has the defaults of ${interfaces.join(' and ')}`, () => {
    for (const { name, fallback } of members) {
      assert.ok(fallback, `the docstring of \`${name}\` has no @default`)
      const row = here.find((each) => each.name === name)
      assert.deepEqual(valuesOf(row?.fallback ?? ''), valuesOf(fallback), `\`${prefix}${name}\``)
    }
  })
}

test('docs/options.md has every exported interface of options', () => {
  const placed = optionPlaces.flatMap(({ interfaces }) => interfaces)
  assert.deepEqual(placed.sort(), [...options.keys()].sort())
})

test('docs/options.md has no row of another option', () => {
  const isPlaced = ({ heading, name }: OptionRow): boolean =>
    optionPlaces.some(({ heading: place, prefix = '', interfaces }) => {
      const members = interfaces.flatMap((each) => options.get(each) ?? [])
      return place === heading && members.some((member) => prefix + member.name === name)
    })
  const others = rows.filter((row) => !isPlaced(row)).map(({ name }) => name)
  assert.deepEqual(others.sort(), [...inlineOptions].sort())
})

const eventTables = tablesOf('docs/events.md')

for (const [heading, name] of Object.entries(eventPlaces)) {
  test(`docs/events.md has each event of ${name} once, and no other`, () => {
    const declaration = exported.get(name)
    assert.ok(declaration)
    const shown = (eventTables.get(heading) ?? []).map(([event = '']) => event.replaceAll('`', ''))
    const declared = membersOf(declaration).map((member) => member.name)
    assert.deepEqual(shown.sort(), declared.sort(), `under "${heading}"`)
  })
}

test('docs/events.md has every exported map of events, and no other', () => {
  const declared = [...exported.keys()].filter((name) => name.endsWith('Events'))
  assert.deepEqual(Object.values(eventPlaces).sort(), declared.sort())
  assert.deepEqual([...eventTables.keys()].sort(), Object.keys(eventPlaces).sort())
})

/** Lists the texts of a union. */
function textsOf(union: string): string[] {
  const declaration = find(union)
  assert.ok(declaration && ts.isTypeAliasDeclaration(declaration))
  assert.ok(ts.isUnionTypeNode(declaration.type))
  return declaration.type.types.map((each) => each.getText().replaceAll("'", ''))
}

for (const [counter, union] of [
  ['drops', 'DropReason'],
  ['refusals', 'RefusalReason'],
]) {
  test(`docs/limits.md has each reason of \`${counter}\` once, and no other`, () => {
    const table = read('docs/limits.md').split(`\n| \`${counter}\` |`)[1]?.split('\n\n')[0] ?? ''
    const shown = [...table.matchAll(/^\| `(\w+)` \|/gm)].map(([, reason = '']) => reason)
    assert.deepEqual(shown.sort(), textsOf(union ?? '').sort())
  })
}
