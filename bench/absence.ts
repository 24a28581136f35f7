/** Who is not measured, and why. */
export interface Absence {
  readonly name: string
  readonly why: string
}

/** Is who was not measured for an error. */
export function absence(name: string, error: unknown): Absence {
  return { name, why: error instanceof Error ? error.message : String(error) }
}
