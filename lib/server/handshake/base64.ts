import { decoder } from '../../connection/message.ts'

/**
 * Decodes UTF-8 text from base64 in either alphabet, with or without padding. Returns undefined for
 * anything else.
 */
export function decodeBase64(encoded: string): string | undefined {
  try {
    const binary = atob(encoded.replaceAll('-', '+').replaceAll('_', '/'))
    return decoder.decode(Uint8Array.from(binary, (char) => char.charCodeAt(0)))
  } catch {
    return undefined
  }
}
