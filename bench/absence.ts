/** A contestant that is not measured, and the reason. */
export interface Absence {
  readonly name: string
  readonly why: string
}

/** Returns the absence of a contestant that failed with this error. */
export function toAbsence(name: string, error: unknown): Absence {
  return { name, why: error instanceof Error ? error.message : String(error) }
}
