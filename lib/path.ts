/**
 * Tells whether a value is a path pattern: /segments, some of which may be :params. Percent signs
 * and stars are none: what they seem to say would never match.
 */
export function isPathPattern(value: unknown): boolean {
  return typeof value === 'string' && /^\/[^?#\s%*]*$/.test(value) && namesOf(value) !== undefined
}

/** Is the path of a request's target, without its query; undefined where it can't be decoded. */
export function pathOf(target: string): string | undefined {
  const whole = target.startsWith('/') ? target : target.replace(/^https?:\/\/[^/?]*/i, '')
  const query = whole.indexOf('?')
  const path = (query < 0 ? whole : whole.slice(0, query)) || '/'
  if (!path.includes('%')) return path
  try {
    return decodeURIComponent(path).includes('\0') ? undefined : path
  } catch {
    return undefined
  }
}

/**
 * Matches a path, as it came, with a pattern: its params, or undefined where it doesn't match.
 *
 * A trailing slash is the same path; a param is one segment that isn't empty.
 */
export function matchPath(pattern: string, path: string): Map<string, string> | undefined {
  const wanted = segments(pattern)
  const given = segments(path)
  if (wanted.length !== given.length) return undefined
  const params = new Map<string, string>()
  for (const [index, segment] of wanted.entries()) {
    const actual = decodeURIComponent(given[index] ?? '')
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

/** Where a server is: at the paths that match its pattern, each with one of its endings behind it. */
export interface Place {
  /** None: every path, with each of the endings. */
  readonly path: string | undefined
  /** The longest one that fits counts; undefined: none. */
  readonly endings?: readonly string[]
}

/** A path as a server sees it. */
export interface Spot {
  readonly ending: string
  readonly params: ReadonlyMap<string, string>
}

/** Finds a path, as it came, in a place; undefined where it is elsewhere. */
export function findPath({ path: pattern, endings = [''] }: Place, path: string): Spot | undefined {
  const longestFirst = [...endings].sort((one, other) => other.length - one.length)
  for (const ending of longestFirst) {
    const params =
      pattern === undefined ? endsWith(path, ending) : matchPath(below(pattern, ending), path)
    if (params) return { ending, params }
  }
  return undefined
}

/** Is a pattern with an ending behind it. */
export function below(pattern: string, ending: string): string {
  return ending === '' ? pattern : pattern.replace(/\/$/, '') + ending
}

function endsWith(path: string, ending: string): Map<string, string> | undefined {
  return ending === '' || path.replace(/\/$/, '').endsWith(ending) ? new Map() : undefined
}

/** Tells whether some path matches both patterns; no pattern matches every path. */
export function pathsOverlap(one: string | undefined, other: string | undefined): boolean {
  if (one === undefined || other === undefined) return true
  const left = segments(one)
  const right = segments(other)
  if (left.length !== right.length) return false
  return left.every((segment, index) => {
    const opposite = right[index] ?? ''
    if (segment === opposite) return true
    const someParam = segment.startsWith(':') || opposite.startsWith(':')
    return someParam && segment !== '' && opposite !== ''
  })
}

function segments(path: string): string[] {
  const trimmed = path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path
  return trimmed.split('/')
}

/** Is the names of a pattern's params, each once; undefined where one is empty or comes twice. */
function namesOf(pattern: string): string[] | undefined {
  const names = segments(pattern)
    .filter((segment) => segment.startsWith(':'))
    .map((segment) => segment.slice(1))
  return names.includes('') || new Set(names).size < names.length ? undefined : names
}
