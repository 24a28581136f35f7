/** Returns the text of any failure: its message, or the name of its type where it has none. */
export function messageOf(failure: unknown): string {
  if (typeof failure === 'string') return failure
  if (!(failure instanceof Error)) return show(failure)
  if (failure.message !== '') return failure.message
  if (failure instanceof AggregateError) return failure.errors.map(messageOf).join('; ')
  return failure.name
}

// Control characters, the separators of lines, and what turns the direction of writing.
const FORGING = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu

/** Escapes what could forge a line of a log, or steer a terminal, in a text that a peer has a part in. */
export function escaped(text: string): string {
  return text.replace(FORGING, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** Returns a value as a message shows it, whatever it is. */
export function show(value: unknown): string {
  if (typeof value === 'string') return escaped(JSON.stringify(value))
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'function') return 'a function'
  if (typeof value !== 'object' || value === null) return String(value)
  if (Array.isArray(value)) return `an array of ${value.length}`
  const { constructor } = value
  return typeof constructor === 'function' && constructor !== Object
    ? `an instance of ${constructor.name}`
    : 'an object'
}

const MAX_CAUSES = 10 // of causes that are looked at: one may be its own
const FIELDS = ['event', 'status', 'code'] // that a report has beside a stack

/**
 * Returns a failure as a log shows it, in one line: its message and its code.
 *
 * The other fields of an error are left out, since they may hold what is secret: ioredis keeps the
 * arguments of the command that failed, a password or a message among them.
 */
export function logTextOf(failure: unknown): string {
  return escaped(safeTextOf(failure))
}

/** Returns the same as it is, for what escapes it itself. */
export function safeTextOf(failure: unknown): string {
  const text = withoutArguments(messageOf(failure))
  const code = fieldOf(failure, 'code')
  return code === undefined || text.includes(String(code)) ? text : `${text} (${code})`
}

/** Returns a failure as it is printed: its stack and its code, then those of its causes. */
export function reportOf(failure: unknown): string {
  const parts: string[] = []
  let frames = ''
  for (let one = failure; one !== undefined && parts.length < MAX_CAUSES; one = causeOf(one)) {
    const stack = withoutArguments(stackOf(one))
    // The stack of a CallbackError is that of its cause, which isn't printed twice.
    const isRepeated = frames !== '' && stack.endsWith(frames)
    const fields = FIELDS.flatMap((name) => {
      const value = fieldOf(one, name)
      return value === undefined ? [] : [`${name}: ${value}`]
    })
    const text = isRepeated ? stack.slice(0, -frames.length) : stack
    const more = fields.length === 0 ? '' : ` { ${fields.join(', ')} }`
    parts.push(`${parts.length === 0 ? '' : '[cause]: '}${text}${more}`)
    frames = /\n {4}at [^]*$/.exec(stack)?.[0] ?? ''
  }
  return parts.join('\n')
}

/**
 * Returns an error of a client of Redis without the command that it keeps, and with a message, or the
 * error as it is.
 *
 * A copy, since the program may be given the original, too.
 */
export function withoutCommand(failure: unknown, depth = 0): unknown {
  if (!(failure instanceof Error) || depth === MAX_CAUSES) return failure
  const cause = causeOf(failure)
  const safeCause = withoutCommand(cause, depth + 1)
  const isKept = failure.message !== '' && !('command' in failure) && safeCause === cause
  if (isKept) return failure
  // The client of `redis` gives no reason for some failures, but a name.
  const copy: Error & { code?: unknown } = new Error(withoutArguments(messageOf(failure)))
  copy.name = failure.name
  copy.stack = withoutArguments(failure.stack ?? '')
  if (safeCause !== undefined) copy.cause = safeCause
  const code = fieldOf(failure, 'code')
  if (code !== undefined) copy.code = code
  return copy
}

// What Redis says of a command that it doesn't know has the start of its arguments.
function withoutArguments(text: string): string {
  return text.replace(/,? with args beginning with: [^\n]*/g, '')
}

function stackOf(failure: unknown): string {
  if (!(failure instanceof Error)) return messageOf(failure)
  const head = `${failure.name}: ${messageOf(failure)}`
  const { stack } = failure
  if (typeof stack !== 'string') return head
  // A stack begins with the message that the error was made with, unless it had none.
  return failure.message === '' ? stack.replace(/^[^\n]*/, head) : stack
}

/** Returns a field that is one word or number: what is more may be secret. */
function fieldOf(failure: unknown, name: string): string | number | undefined {
  if (typeof failure !== 'object' || failure === null) return undefined
  const value: unknown = Reflect.get(failure, name)
  if (typeof value === 'number') return value
  return typeof value === 'string' && /^[\w:-]{1,64}$/.test(value) ? value : undefined
}

function causeOf(failure: unknown): unknown {
  return failure instanceof Error ? failure.cause : undefined
}
