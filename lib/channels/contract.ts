import { unexpected } from '../errors.ts'
import { checkNames, isList, isObject } from '../options/rules.ts'
import { isPromise } from '../promises.ts'

/** Is any schema that follows Standard Schema, version 1 (https://standardschema.dev): zod, valibot, arktype. */
export interface StandardSchema<Input = unknown, Output = Input> {
  /** What the specification asks for. */
  readonly '~standard': StandardSchemaProps<Input, Output>
}

/** Is what a standard schema can do. */
export interface StandardSchemaProps<Input = unknown, Output = Input> {
  /** The version of the specification. */
  readonly version: 1
  /** Who made it. */
  readonly vendor: string
  /** Judges a value. */
  readonly validate: (value: unknown) => Judgement<Output> | Promise<Judgement<Output>>
  /** Nothing at run time: what it takes and gives, for the compiler. */
  readonly types?: SchemaTypes<Input, Output> | undefined
}

/** What a schema takes and gives. */
export interface SchemaTypes<Input = unknown, Output = Input> {
  /** What it takes. */
  readonly input: Input
  /** What it gives. */
  readonly output: Output
}

/** A value that a schema lets pass. */
export interface Passed<Output> {
  /** What it makes of it. */
  readonly value: Output
  /** Nothing is wrong. */
  readonly issues?: undefined
}

/** A value that a schema doesn't let pass. */
export interface Failed {
  /** What is wrong. */
  readonly issues: readonly SchemaIssue[]
}

/** Is what a schema says of a value. */
export type Judgement<Output> = Passed<Output> | Failed

/** What is wrong with a value. */
export interface SchemaIssue {
  /** In words for humans. */
  readonly message: string
  /** Where in the value. */
  readonly path?: readonly (PropertyKey | PathSegment)[] | undefined
}

/** A step on the way into a value. */
export interface PathSegment {
  /** The name, or the index. */
  readonly key: PropertyKey
}

/** What the members of a topic and its server say to each other: a schema for each event. */
export interface Contract {
  /** What arrives at a server, by its event; any other event is refused. Default: anything. */
  readonly in?: Readonly<Record<string, StandardSchema>> | undefined
  /**
   * What a server sends, by its event; for the compiler, and checked by a client that has the contract.
   * Default: anything.
   */
  readonly out?: Readonly<Record<string, StandardSchema>> | undefined
  /** What comes with a join. Default: anything. */
  readonly join?: StandardSchema | undefined
}

/** Is what a schema makes of a value. */
export type Output<Schema> = Schema extends StandardSchema<any, infer Value> ? Value : never

/** Is what a schema takes. */
export type Input<Schema> = Schema extends StandardSchema<infer Value, any> ? Value : never

/** Payloads by their events, as the schemas of a contract make them. */
export type Outputs<Schemas> = [Schemas] extends [Readonly<Record<string, StandardSchema>>]
  ? { [Name in keyof Schemas]: Output<Schemas[Name]> }
  : Record<string, any>

/** Payloads by their events, as the schemas of a contract take them. */
export type Inputs<Schemas> = [Schemas] extends [Readonly<Record<string, StandardSchema>>]
  ? { [Name in keyof Schemas]: Input<Schemas[Name]> }
  : Record<string, any>

/** What comes with a join, as the schema of a contract makes it. */
export type Joined<Schema> = [Schema] extends [StandardSchema] ? Output<Schema> : any

/** What is answered to a payload that its schema doesn't let pass. */
interface Invalid {
  readonly reason: string
  readonly issues: readonly { readonly message: string; readonly path: readonly unknown[] }[]
}

/** What a schema says of a payload: the value to go on with, or what to answer. */
export type Verdict = { readonly value: unknown } | { readonly refusal: Invalid }

const MOST_ISSUES = 20 // a peer chooses how many there are

/**
 * Checks a contract, which on a server may have the options of a topic, too.
 *
 * @throws TypeError for a name that a contract can't have, and for what is no schema.
 */
export function checkContract(contract: Contract): void {
  checkNames(contract, ['in', 'out', 'join', 'history', 'open'])
  if (contract.join !== undefined) checkSchema('join', contract.join)
  for (const side of ['in', 'out'] as const) {
    const schemas = contract[side]
    if (schemas === undefined) continue
    if (!isObject(schemas) || isList(schemas)) {
      throw unexpected(`\`${side}\``, 'an object of schemas, by their events', schemas)
    }
    for (const [event, schema] of Object.entries(schemas)) checkSchema(`${side}.${event}`, schema)
  }
}

function checkSchema(name: string, schema: StandardSchema): void {
  if (typeof schema?.['~standard']?.validate === 'function') return
  throw unexpected(`the schema of \`${name}\``, 'one that follows Standard Schema', schema)
}

/** Judges a payload; throws, or rejects, with whatever the schema throws. */
export function judged(schema: StandardSchema, payload: unknown): Verdict | PromiseLike<Verdict> {
  const judgement = schema['~standard'].validate(payload)
  if (!isPromise(judgement)) return verdictOf(judgement)
  return judgement.then((settled) => verdictOf(settled))
}

function verdictOf(judgement: Judgement<unknown>): Verdict {
  if (!judgement.issues) return { value: judgement.value }
  const issues = judgement.issues.slice(0, MOST_ISSUES).map(({ message, path = [] }) => ({
    message,
    path: path.map((part) => shown(typeof part === 'object' ? part.key : part)),
  }))
  return { refusal: { reason: 'invalid payload', issues } }
}

function shown(key: PropertyKey): string | number {
  return typeof key === 'symbol' ? String(key) : key
}
