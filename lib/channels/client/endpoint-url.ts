import type { UrlSource } from '../../client/connect.ts'
import type { ValueOrProvider } from '../../options/value-or-provider.ts'
import { invalidValue } from '../../validation.ts'
import type { Serializer } from '../protocol/serializer.ts'

/** The parameters of a query: plain values, and lists and objects of them. */
export type Params = Readonly<Record<string, unknown>>

/**
 * Returns the url that a channel client connects to: the server's url, with the path suffix and the
 * query that the serializer needs. A url or params that are a function are called at every attempt.
 */
export function endpointUrl(
  url: UrlSource,
  params: ValueOrProvider<Params>,
  serializer: Serializer,
): UrlSource {
  if (typeof url !== 'function' && typeof params !== 'function') {
    return buildUrl(url, params, serializer)
  }
  return async () => {
    const base = await (typeof url === 'function' ? url() : url)
    return buildUrl(base, await (typeof params === 'function' ? params() : params), serializer)
  }
}

/**
 * Adds the path suffix and the query. Returns an invalid url unchanged: the client rejects it when
 * it connects.
 */
function buildUrl(source: string | URL, params: Params, { path, query }: Serializer): string {
  const text = String(source)
  const base = pageUrl()
  if (!URL.canParse(text, base)) return text
  const url = new URL(text, base)
  const basePath = url.pathname.replace(/\/+$/, '')
  if (path !== '' && !basePath.endsWith(path)) url.pathname = basePath + path
  for (const [name, value] of Object.entries(params)) append(url.searchParams, name, value)
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value)
  return url.href
}

/** Returns the url of the page: there, a client's url may be relative, as phoenix.js allows. */
function pageUrl(): string | undefined {
  const { location } = globalThis as { location?: { readonly href?: unknown } }
  const href = location?.href
  return typeof href === 'string' && /^https?:/.test(href) ? href : undefined
}

function isPlain(value: unknown): value is string | number | boolean | bigint {
  return ['string', 'number', 'boolean', 'bigint'].includes(typeof value)
}

// The format that Plug reads and phoenix.js writes: a[b]=1 and a[]=1.
function append(query: URLSearchParams, name: string, value: unknown): void {
  if (value === undefined) return
  if (value === null) {
    query.append(name, '')
  } else if (Array.isArray(value)) {
    for (const element of value as unknown[]) append(query, `${name}[]`, element)
  } else if (typeof value === 'object') {
    for (const [key, field] of Object.entries(value)) append(query, `${name}[${key}]`, field)
  } else if (isPlain(value)) query.append(name, String(value))
  else throw invalidValue(`\`${name}\` of \`params\``, 'a plain value, a list or an object', value)
}
