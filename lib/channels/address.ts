import type { Url } from '../attempt.ts'
import { unexpected } from '../errors.ts'
import type { Asked } from '../options/asked.ts'
import type { Serializer } from './frame.ts'

/** What goes into a query: plain values, and lists and objects of them. */
export type Params = Readonly<Record<string, unknown>>

/**
 * Is where a client of channels asks for its dialect: the server's url, the ending of its path, and
 * the query. What is a function is asked anew at every attempt.
 */
export function addressOf(url: Url, params: Asked<Params>, serializer: Serializer): Url {
  if (typeof url !== 'function' && typeof params !== 'function') {
    return completed(url, params, serializer)
  }
  return async () => {
    const base = await (typeof url === 'function' ? url() : url)
    return completed(base, await (typeof params === 'function' ? params() : params), serializer)
  }
}

/** Gives what is no url as it is: whoever dials says so. */
function completed(given: string | URL, params: Params, { path, query }: Serializer): string {
  const text = String(given)
  const base = pageUrl()
  if (!URL.canParse(text, base)) return text
  const url = new URL(text, base)
  const mount = url.pathname.replace(/\/+$/, '')
  if (path !== '' && !mount.endsWith(path)) url.pathname = mount + path
  for (const [name, value] of Object.entries(params)) append(url.searchParams, name, value)
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value)
  return url.href
}

/** In a page a url may be relative, as phoenix.js allows it. */
function pageUrl(): string | undefined {
  const { location } = globalThis as { location?: { readonly href?: unknown } }
  const href = location?.href
  return typeof href === 'string' && /^https?:/.test(href) ? href : undefined
}

function isPlain(value: unknown): value is string | number | boolean | bigint {
  return ['string', 'number', 'boolean', 'bigint'].includes(typeof value)
}

// As Plug reads it, and phoenix.js writes it: a[b]=1 and a[]=1.
function append(query: URLSearchParams, name: string, value: unknown): void {
  if (value === undefined) return
  if (value === null) {
    query.append(name, '')
  } else if (Array.isArray(value)) {
    for (const each of value as unknown[]) append(query, `${name}[]`, each)
  } else if (typeof value === 'object') {
    for (const [key, each] of Object.entries(value)) append(query, `${name}[${key}]`, each)
  } else if (isPlain(value)) query.append(name, String(value))
  else throw unexpected(`\`${name}\` of \`params\``, 'a plain value, a list or an object', value)
}
