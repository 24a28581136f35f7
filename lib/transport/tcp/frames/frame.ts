/** The bits of a frame's first byte, RFC 6455 §5.2. */
export const FIN = 0x80
export const COMPRESSED = 0x40 // RFC 7692 §6
export const OPCODE = 0x0f

/** The bit of a frame's second byte that announces a mask. */
export const MASKED = 0x80

/** Opcodes. */
export const CONTINUATION = 0
export const TEXT = 1
export const BINARY = 2
export const CLOSE = 8
export const PING = 9
export const PONG = 10

/** The close code reported for a close frame without a code, RFC 6455 §7.1.5. */
export const NO_CODE = 1005
