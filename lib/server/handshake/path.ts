/** The names of the `:params` of a path. */
export type ParamNames<Path extends string> = Path extends `${infer First}/${infer Rest}`
  ? ParamNames<First> | ParamNames<Rest>
  : Path extends `:${infer Name}`
    ? Name
    : never

/**
 * The params of a path: a string for each `:name` of a path that the compiler knows. Of any other
 * path, each name may be missing.
 */
export type PathParams<Path extends string> = string extends Path
  ? Readonly<Record<string, string | undefined>>
  : Readonly<Record<ParamNames<Path>, string>>

/**
 * Returns whether a value is a path pattern: /segments, some of which may be :params. Percent signs
 * and stars are not allowed, because such a pattern would never match what it seems to mean.
 */
export function isPathPattern(value: unknown): boolean {
  return typeof value === 'string' && /^\/[^?#\s%*]*$/.test(value) && namesOf(value) !== undefined
}

/** Returns the path of a request's target, without the query; undefined if it can't be decoded. */
export function pathOf(target: string): string | undefined {
  const pathAndQuery = target.startsWith('/') ? target : target.replace(/^https?:\/\/[^/?]*/i, '')
  const queryStart = pathAndQuery.indexOf('?')
  const path = (queryStart < 0 ? pathAndQuery : pathAndQuery.slice(0, queryStart)) || '/'
  if (!path.includes('%')) return path
  try {
    return decodeURIComponent(path).includes('\0') ? undefined : path
  } catch {
    return undefined
  }
}

/**
 * Matches a path, not decoded yet, with a pattern. Returns the params, or undefined where the path
 * doesn't match.
 *
 * A trailing slash is ignored; a param is one segment that isn't empty.
 */
export function matchPath(pattern: string, path: string): Map<string, string> | undefined {
  const patternSegments = splitPath(pattern)
  const pathSegments = splitPath(path)
  if (patternSegments.length !== pathSegments.length) return undefined
  const params = new Map<string, string>()
  for (const [index, segment] of patternSegments.entries()) {
    const actual = decodeURIComponent(pathSegments[index] ?? '')
    if (!segment.startsWith(':')) {
      if (segment !== actual) return undefined
    } else if (actual === '') {
      return undefined
    } else {
      params.set(segment.slice(1), actual)
    }
  }
  return params
}

/** The paths that a server serves: each matches the pattern, followed by one of the suffixes. */
export interface RouteConfig {
  /** The path pattern; undefined serves every path, with each of the suffixes. */
  readonly path: string | undefined
  /** The suffixes, of which the longest that matches counts; undefined means no suffix. */
  readonly suffixes?: readonly string[]
}

/** The result of matching a path with a route. */
export interface RouteMatch {
  readonly suffix: string
  readonly params: ReadonlyMap<string, string>
}

/** Matches a path, not decoded yet, with a route; returns undefined where it doesn't match. */
export function findPath(
  { path: pattern, suffixes = [''] }: RouteConfig,
  path: string,
): RouteMatch | undefined {
  const longestFirst = [...suffixes].sort((one, other) => other.length - one.length)
  for (const suffix of longestFirst) {
    const params =
      pattern === undefined ? matchSuffix(path, suffix) : matchPath(joinPath(pattern, suffix), path)
    if (params) return { suffix, params }
  }
  return undefined
}

/** Returns a pattern followed by a suffix. */
export function joinPath(pattern: string, suffix: string): string {
  return suffix === '' ? pattern : pattern.replace(/\/$/, '') + suffix
}

function matchSuffix(path: string, suffix: string): Map<string, string> | undefined {
  return suffix === '' || path.replace(/\/$/, '').endsWith(suffix) ? new Map() : undefined
}

/** Returns whether a path can match both patterns; an undefined pattern matches every path. */
export function pathsOverlap(one: string | undefined, other: string | undefined): boolean {
  if (one === undefined || other === undefined) return true
  const segmentsOfOne = splitPath(one)
  const segmentsOfOther = splitPath(other)
  if (segmentsOfOne.length !== segmentsOfOther.length) return false
  return segmentsOfOne.every((segment, index) => {
    const opposite = segmentsOfOther[index] ?? ''
    if (segment === opposite) return true
    const hasParam = segment.startsWith(':') || opposite.startsWith(':')
    return hasParam && segment !== '' && opposite !== ''
  })
}

function splitPath(path: string): string[] {
  const trimmed = path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path
  return trimmed.split('/')
}

/** Returns the names of a pattern's params; undefined where a name is empty or occurs twice. */
function namesOf(pattern: string): string[] | undefined {
  const names = splitPath(pattern)
    .filter((segment) => segment.startsWith(':'))
    .map((segment) => segment.slice(1))
  return names.includes('') || new Set(names).size < names.length ? undefined : names
}
