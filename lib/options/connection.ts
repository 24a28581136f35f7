import type { Data, SendData } from '../connection/message.ts'
import { CODEC } from '../internal.ts'
import type { Messages } from '../messages/messages.ts'
import { bytes, flag, milliseconds, orFalse, type Rule, type Resolved } from '../validation.ts'
import type { Compression, frameRules } from './node-only.ts'

/** The options that a server and a client have in common. */
export interface ConnectionOptions<In = Data, Out = SendData> {
  /**
   * The maximum size of a received message in bytes. A longer one closes with 1009.
   *
   * @default 1 MiB on a server, 8 MiB on a client
   */
  maxReceivedMessageSize?: number | undefined
  /**
   * The maximum number of bytes of received messages that wait for their listeners. Each message
   * counts 256 bytes more than its payload. More messages close with 1008; a single one always
   * fits.
   *
   * @default 1 MiB, or `maxReceivedMessageSize` if that is more
   */
  maxWaitingBytes?: number | undefined
  /**
   * The maximum size of a received frame in bytes. A longer one closes with 1008.
   *
   * Browsers send a message as one frame, so a limit below that of a message refuses good messages.
   *
   * @default false
   */
  maxReceivedFrameSize?: number | false | undefined
  /**
   * Milliseconds that a message may take from its first byte to its last, and a second more for
   * each 16 KiB of it. A message that takes longer closes with 1008. Time in which this side pauses
   * reading doesn't count. Not available in browsers.
   *
   * @default 30_000
   */
  messageTimeout?: number | false | undefined
  /**
   * Bytes. A longer message is sent in frames of this size (SimpleWebsockets: 16 KiB).
   *
   * @default false
   */
  fragmentationThreshold?: number | false | undefined
  /**
   * Milliseconds that the peer has to answer a close frame before its connection is terminated.
   *
   * @default 5_000
   */
  closeTimeout?: number | undefined
  /**
   * Milliseconds of a period. Once per period the silence of each peer is checked: a quiet peer is
   * pinged after one to two periods, and given up after two to three. Behind a proxy, choose less
   * than half of its timeout.
   *
   * @default 20_000
   */
  keepaliveTimeout?: number | false | undefined
  /**
   * Whether the kernel gathers small packets, which delays them.
   *
   * @default false
   */
  useNagleAlgorithm?: boolean | undefined
  /**
   * Whether every message arrives as bytes, and strings are sent as binary frames.
   *
   * @default false
   */
  binary?: boolean | undefined
  /**
   * The format of the messages: what `json` or `codec` returns. Without it, messages are strings
   * and bytes.
   *
   * @default none
   */
  messages?: Messages<In, Out> | undefined
  /**
   * Whether permessage-deflate is negotiated, and with which parameters.
   *
   * @default false
   */
  compression?: boolean | Compression | undefined
  /**
   * The maximum number of bytes that wait for a peer that doesn't read.
   *
   * @default 16 MiB
   */
  maxBufferedAmount?: number | undefined
  /**
   * The reaction to a message past `maxBufferedAmount`: close with 1013, or drop the message.
   *
   * @default 'close'
   */
  slowConsumer?: 'close' | 'drop' | undefined
  /**
   * The number of waiting bytes above which `send` returns false and a `drain` event follows.
   *
   * @default 64 KiB
   */
  highWaterMark?: number | undefined
}

const KIB = 1024
/** The number of bytes in a mebibyte. */
export const MIB = 1024 * KIB

/** The rules of the options that every connection has, on every platform. */
export const connectionRules = {
  maxReceivedMessageSize: bytes(MIB),
  maxWaitingBytes: bytes(0), // `withWaitingBytes` replaces this default
  closeTimeout: milliseconds(5_000, 0),
  keepaliveTimeout: orFalse(milliseconds(20_000, 1), 20_000),
  binary: flag(),
  messages: {
    fallback: undefined,
    expected: 'from `json` or `codec`',
    isValid: (value) => CODEC in Object(value),
  } as Rule<Messages<unknown, unknown> | undefined>,
  maxBufferedAmount: bytes(16 * MIB),
  slowConsumer: {
    fallback: 'close',
    expected: `'close' or 'drop'`,
    isValid: (value) => value === 'close' || value === 'drop',
  } as Rule<'close' | 'drop'>,
  highWaterMark: bytes(64 * KIB),
}

/** Fills in the default of `maxWaitingBytes`, which depends on `maxReceivedMessageSize`. */
export function withWaitingBytes<Settings extends ConnectionSettings>(
  settings: Settings,
): Settings {
  const { maxWaitingBytes, maxReceivedMessageSize } = settings
  if (maxWaitingBytes > 0) return settings
  return { ...settings, maxWaitingBytes: Math.max(MIB, maxReceivedMessageSize) }
}

/** The validated options of a connection, with the defaults filled in. */
export type ConnectionSettings = Resolved<typeof connectionRules & typeof frameRules>
