/**
 * Maximum levels of JSON, sent or received: far below the depth at which JSON.stringify runs out of
 * stack.
 */
export const MAX_DEPTH = 512
const QUOTE = 0x22
const BACKSLASH = 0x5c
const OPEN_ARRAY = 0x5b
const CLOSE_ARRAY = 0x5d
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d

/**
 * Returns whether a JSON text has more than `maxDepth` levels.
 *
 * Check a text before JSON.parse: some engines' JSON.parse recurses, and so does code that walks
 * through its result. Most texts are too short, or have too few brackets, to be scanned.
 */
export function nestsDeeper(text: string, maxDepth: number): boolean {
  // Each level takes two characters, one of which is an opening bracket.
  if (text.length <= 2 * maxDepth || !opensMoreThan(text, maxDepth)) return false
  let depth = 0
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index)
    if (unit === QUOTE) index = endOfString(text, index)
    else if (unit === OPEN_ARRAY || unit === OPEN_OBJECT) depth += 1
    else if (unit === CLOSE_ARRAY || unit === CLOSE_OBJECT) depth -= 1
    if (depth > maxDepth) return true
  }
  return false
}

// Brackets inside strings count, too: at worst the text is scanned for nothing.
function opensMoreThan(text: string, limit: number): boolean {
  let count = 0
  for (const bracket of ['[', '{']) {
    let index = text.indexOf(bracket)
    while (index >= 0 && count <= limit) {
      count += 1
      index = text.indexOf(bracket, index + 1)
    }
  }
  return count > limit
}

/**
 * Returns the index of the closing quote of the JSON string whose opening quote is at `start`; the
 * length of the text where there is none.
 */
export function endOfString(text: string, start: number): number {
  let end = text.indexOf('"', start + 1)
  while (end >= 0 && isEscaped(text, end)) end = text.indexOf('"', end + 1)
  return end < 0 ? text.length : end
}

function isEscaped(text: string, index: number): boolean {
  let start = index
  while (text.charCodeAt(start - 1) === BACKSLASH) start -= 1
  return (index - start) % 2 === 1
}
