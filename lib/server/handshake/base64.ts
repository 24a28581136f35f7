/** Encodes text as UTF-8 in base64, without padding, in the alphabet of RFC 4648 §4. */
export function encodeBase64(text: string): string {
  const bytes = Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte))
  return btoa(bytes.join('')).replaceAll('=', '')
}

/**
 * Decodes UTF-8 text from base64 in either alphabet, with or without padding. Returns undefined for
 * anything else.
 */
export function decodeBase64(encoded: string | undefined): string | undefined {
  if (encoded === undefined) return undefined
  try {
    const binary = atob(encoded.replaceAll('-', '+').replaceAll('_', '/'))
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(
      Uint8Array.from(binary, (char) => char.charCodeAt(0)),
    )
  } catch {
    return undefined
  }
}
