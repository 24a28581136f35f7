/** Returns the text of any failure: its message, or the name of its type when that is empty. */
export function messageOf(failure: unknown): string {
  if (typeof failure === 'string') return failure
  if (!(failure instanceof Error)) return describeValue(failure)
  if (failure.message !== '') return failure.message
  if (failure instanceof AggregateError) return failure.errors.map(messageOf).join('; ')
  return failure.name
}

// Control characters, line separators, and characters that change the direction of the text.
const UNSAFE = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu

/**
 * Escapes characters that could forge a log line or control a terminal. For texts that contain data
 * from a peer.
 */
export function escapeText(text: string): string {
  return text.replace(UNSAFE, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** Returns a short description of any value, for use in an error message. */
export function describeValue(value: unknown): string {
  if (typeof value === 'string') return escapeText(JSON.stringify(value))
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'function') return 'a function'
  if (typeof value !== 'object' || value === null) return String(value)
  if (Array.isArray(value)) return `an array of ${value.length}`
  const { constructor } = value
  return typeof constructor === 'function' && constructor !== Object
    ? `an instance of ${constructor.name}`
    : 'an object'
}

const MAX_CAUSES = 10 // causes that are followed: an error may be its own cause
const FIELDS = ['code', 'closeCode', 'event', 'status'] // shown in a report beside the stack

/**
 * Returns a failure as one line for a log: its message and its code.
 *
 * Omits the other fields of an error, because they may hold secrets: ioredis keeps the arguments of
 * the command that failed, which may be a password or a message.
 */
export function formatLogLine(failure: unknown): string {
  return escapeText(formatUnescaped(failure))
}

/** Returns the text of `formatLogLine` unescaped, for callers that escape it themselves. */
export function formatUnescaped(failure: unknown): string {
  const text = withoutArguments(messageOf(failure))
  const code = fieldOf(failure, 'code')
  return code === undefined || text.includes(String(code)) ? text : `${text} (${code})`
}

/** Returns a failure as it is printed: its stack and its code, then those of each of its causes. */
export function formatReport(failure: unknown): string {
  const parts: string[] = []
  let frames = ''
  for (
    let error = failure;
    error !== undefined && parts.length < MAX_CAUSES;
    error = causeOf(error)
  ) {
    const stack = withoutArguments(stackOf(error))
    // A CallbackError has the stack of its cause. The same frames aren't printed twice.
    const isRepeated = frames !== '' && stack.endsWith(frames)
    const fields = FIELDS.flatMap((name) => {
      const value = fieldOf(error, name)
      if (value === undefined) return []
      return [`${name}: ${typeof value === 'string' ? `'${value}'` : value}`]
    })
    const text = isRepeated ? stack.slice(0, -frames.length) : stack
    const suffix = fields.length === 0 ? '' : ` { ${fields.join(', ')} }`
    parts.push(`${parts.length === 0 ? '' : '[cause]: '}${text}${suffix}`)
    frames = /\n {4}at [^]*$/.exec(stack)?.[0] ?? ''
  }
  return parts.join('\n')
}

/**
 * Returns an error of a Redis client without the command that the client attached to it, and with a
 * message. Returns the error itself when there is nothing to remove or add.
 *
 * Otherwise returns a copy, because the application may hold the original, too.
 */
export function withoutCommand(failure: unknown, depth = 0): unknown {
  if (!(failure instanceof Error) || depth === MAX_CAUSES) return failure
  const cause = causeOf(failure)
  const safeCause = withoutCommand(cause, depth + 1)
  const isUnchanged = failure.message !== '' && !('command' in failure) && safeCause === cause
  if (isUnchanged) return failure
  // For some failures the client of `redis` gives only a name and no message.
  const copy: Error & { code?: unknown } = new Error(withoutArguments(messageOf(failure)))
  copy.name = failure.name
  copy.stack = withoutArguments(failure.stack ?? '')
  if (safeCause !== undefined) copy.cause = safeCause
  const code = fieldOf(failure, 'code')
  if (code !== undefined) copy.code = code
  return copy
}

// For an unknown command, the error text of Redis contains the start of the command's arguments.
function withoutArguments(text: string): string {
  return text.replace(/,? with args beginning with: [^\n]*/g, '')
}

function stackOf(failure: unknown): string {
  if (!(failure instanceof Error)) return messageOf(failure)
  const head = `${failure.name}: ${messageOf(failure)}`
  const { stack } = failure
  if (typeof stack !== 'string') return head
  // A stack begins with the original message of the error, unless that was empty.
  return failure.message === '' ? stack.replace(/^[^\n]*/, head) : stack
}

/** Returns a field that is a number or one word. Longer values may be secret. */
function fieldOf(failure: unknown, name: string): string | number | undefined {
  if (typeof failure !== 'object' || failure === null) return undefined
  const value: unknown = Reflect.get(failure, name)
  if (typeof value === 'number') return value
  return typeof value === 'string' && /^[\w:-]{1,64}$/.test(value) ? value : undefined
}

function causeOf(failure: unknown): unknown {
  return failure instanceof Error ? failure.cause : undefined
}

interface Tagged {
  readonly [Symbol.toStringTag]: string
}

/** Returns an object's tag and a text as one line. The text must hold no secrets or payloads. */
export function inspectLine(object: Tagged, text: string): string {
  return escapeText(`${object[Symbol.toStringTag]} { ${text} }`)
}

/** Returns a number of things: `1 client`, `2 clients`. */
export function formatCount(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
