import { bytes, flag, milliseconds, orFalse, type Rule, type Settled } from './rules.ts'
import type { Compression, wireRules } from './wire.ts'

/** Is what a server and a client both let you choose. */
export interface ConnectionOptions {
  /** Bytes; a longer message closes with 1009. Default: 1 MiB on a server, 8 MiB on a client. */
  maxReceivedMessageSize?: number | undefined
  /**
   * Bytes of received messages that may wait for their listeners, each counted with 256 bytes more
   * than its payload; more close with 1008. One message always fits.
   *
   * Default: 1 MiB, or `maxReceivedMessageSize` where that is more.
   */
  maxWaitingBytes?: number | undefined
  /**
   * Bytes; a longer frame closes with 1008. Default: false.
   *
   * Browsers send a message as one frame: a limit below the message's refuses honest messages.
   */
  maxReceivedFrameSize?: number | false | undefined
  /**
   * Milliseconds that a message may take from its first byte to its last, and a second more for each
   * 16 KiB of it; one that takes longer closes with 1008. The time in which reading is paused here
   * doesn't count. Not in browsers.
   *
   * @default 30_000
   */
  messageTimeout?: number | false | undefined
  /** Bytes; a longer message goes out in frames of this size (SimpleWebsockets: 16 KiB). Default: false. */
  fragmentationThreshold?: number | false | undefined
  /** Milliseconds that a peer has to answer a close frame before it is cut. Default: 5_000. */
  closeTimeout?: number | undefined
  /** Milliseconds of silence before a ping, and then before giving up. Default: 20_000. */
  keepaliveTimeout?: number | false | undefined
  /** true: the kernel gathers small packets, at the price of delay. Default: false. */
  useNagleAlgorithm?: boolean | undefined
  /** true: everything arrives as bytes, and strings go out as binary frames. Default: false. */
  binary?: boolean | undefined
  /** Whether permessage-deflate is agreed to, and how. Default: false. */
  compression?: boolean | Compression | undefined
  /** Bytes that may wait for a peer that doesn't read. Default: 16 MiB. */
  maxBufferedAmount?: number | undefined
  /** What happens past `maxBufferedAmount`: close with 1013, or drop the message. Default: 'close'. */
  slowConsumer?: 'close' | 'drop' | undefined
  /** Bytes waiting above which `send` says false and a `drain` follows. Default: 64 KiB. */
  highWaterMark?: number | undefined
}

const KIB = 1024
/** As many bytes as their name says. */
export const MIB = 1024 * KIB

/** The rules of what every connection has, wherever it is. */
export const connectionRules = {
  maxReceivedMessageSize: bytes(MIB),
  maxWaitingBytes: bytes(0), // the default is settled with `maxReceivedMessageSize`
  closeTimeout: milliseconds(5_000, 0),
  keepaliveTimeout: orFalse(milliseconds(20_000, 1), 20_000),
  binary: flag(),
  maxBufferedAmount: bytes(16 * MIB),
  slowConsumer: {
    fallback: 'close',
    wanted: `'close' or 'drop'`,
    accepts: (value) => value === 'close' || value === 'drop',
  } as Rule<'close' | 'drop'>,
  highWaterMark: bytes(64 * KIB),
}

/** Fills in the default that depends on another option. */
export function withWaitingBytes<Settings extends ConnectionSettings>(
  settings: Settings,
): Settings {
  const { maxWaitingBytes, maxReceivedMessageSize } = settings
  if (maxWaitingBytes > 0) return settings
  return { ...settings, maxWaitingBytes: Math.max(MIB, maxReceivedMessageSize) }
}

/** Every option of a connection, settled. */
export type ConnectionSettings = Settled<typeof connectionRules & typeof wireRules>
