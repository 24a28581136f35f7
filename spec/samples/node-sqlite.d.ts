// The part in use of a module that @types/node 20 doesn't know yet.
declare module 'node:sqlite' {
  export class StatementSync {
    get(parameters?: Record<string, string | number>): unknown
    all(parameters: Record<string, string | number>): unknown[]
    run(parameters: Record<string, string | number>): unknown
  }
  export class DatabaseSync {
    readonly isOpen: boolean
    constructor(file: string)
    exec(sql: string): void
    prepare(sql: string): StatementSync
    close(): void
  }
}
