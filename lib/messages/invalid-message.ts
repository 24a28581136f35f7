import type { SchemaIssue } from './standard-schema.ts'

/** The error with which a format refuses a message. The connection closes with its text. */
export class InvalidMessage extends Error {
  readonly closeCode: 1007 | 1008
  /** The issues that a schema found. */
  readonly issues: readonly SchemaIssue[] | undefined

  constructor(
    closeCode: 1007 | 1008,
    text: string,
    { cause, issues }: { cause?: unknown; issues?: readonly SchemaIssue[] } = {},
  ) {
    super(text, { cause })
    this.closeCode = closeCode
    this.issues = issues
  }
}
