import { invalidValue } from '../validation.ts'

/**
 * A schema that follows Standard Schema, version 1 (https://standardschema.dev): of zod, valibot or
 * arktype, for example.
 */
export interface StandardSchema<Input = unknown, Output = Input> {
  /** The properties that the specification requires. */
  readonly '~standard': StandardSchemaProps<Input, Output>
}

/** The properties of a standard schema. */
export interface StandardSchemaProps<Input = unknown, Output = Input> {
  /** The version of the specification. */
  readonly version: 1
  /** The name of the library that made the schema. */
  readonly vendor: string
  /** Validates a value. */
  readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>
  /** The input and output types, for the compiler only; absent at run time. */
  readonly types?: SchemaTypes<Input, Output> | undefined
}

/** The input and output types of a schema. */
export interface SchemaTypes<Input = unknown, Output = Input> {
  /** The type of the values that the schema accepts. */
  readonly input: Input
  /** The type of the values that the schema returns. */
  readonly output: Output
}

/** The result of a validation that succeeded. */
export interface SuccessResult<Output> {
  /** The value that the schema returns. */
  readonly value: Output
  /** Always undefined: a success has no issues. */
  readonly issues?: undefined
}

/** The result of a validation that failed. */
export interface FailureResult {
  /** The issues that the schema found. */
  readonly issues: readonly SchemaIssue[]
}

/** The result of a validation. */
export type StandardResult<Output> = SuccessResult<Output> | FailureResult

/** An issue that a schema found in a value. */
export interface SchemaIssue {
  /** A description for humans. */
  readonly message: string
  /** The path to the part of the value that has the issue. */
  readonly path?: readonly (PropertyKey | PathSegment)[] | undefined
}

/** One step of a path into a value. */
export interface PathSegment {
  /** The name of a property, or the index of an element. */
  readonly key: PropertyKey
}

/** The type of the values that a schema returns. */
export type InferOutput<Schema> =
  Schema extends StandardSchema<unknown, infer Value> ? Value : never

/** The type of the values that a schema accepts. */
export type InferInput<Schema> = Schema extends StandardSchema<infer Value, unknown> ? Value : never

/** Returns whether a value is a schema. */
export function isSchema(value: unknown): boolean {
  return typeof (value as StandardSchema | null)?.['~standard']?.validate === 'function'
}

/**
 * Checks that a value is a schema. `name` names it in the error.
 *
 * @throws TypeError for a value that is no schema.
 */
export function checkSchema(name: string, schema: StandardSchema): void {
  if (isSchema(schema)) return
  throw invalidValue(`the schema of \`${name}\``, 'one that follows Standard Schema', schema)
}
