/** Returns the middle of some numbers. */
export function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((one, two) => one - two)
  const middle = sorted.length / 2
  return ((sorted[Math.ceil(middle) - 1] ?? NaN) + (sorted[Math.floor(middle)] ?? NaN)) / 2
}

/** Returns a number with so many digits behind the point, and commas between the thousands. */
export function show(number: number, digits = 0): string {
  return number.toLocaleString('en', {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  })
}

/** Lays rows out as a table in Markdown: the first row is its head, the first column its names. */
export function table(rows: readonly (readonly string[])[]): string {
  const [head = [], ...body] = rows
  const widths = head.map((_, column) =>
    Math.max(3, ...rows.map((row) => row[column]?.length ?? 0)),
  )
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  const laid = (row: readonly string[]): string =>
    line(widths.map((width, i) => (i > 0 ? row[i]?.padStart(width) : row[i]?.padEnd(width)) ?? ''))
  const rule = line(
    widths.map((width, i) => (i > 0 ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width))),
  )
  return [laid(head), rule, ...body.map(laid)].join('\n')
}
