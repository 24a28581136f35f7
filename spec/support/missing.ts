/**
 * Returns why a test is skipped where something is missing on a user's machine, and how to get it.
 * Where CI is set it throws that instead, as a skip would go unnoticed there.
 */
export function missing(cure: string): string {
  if (process.env.CI) throw new Error(cure)
  return cure
}
