import type { CODEC } from '../internal.ts'
import type { MessageDecoder, MessageDecoderOwner } from './message-decoder.ts'

/**
 * A format of messages, for the option `messages`: `json` and `codec` make one. `In` is the type of
 * the messages that it decodes, `Out` the type of those that it encodes.
 */
export interface Messages<In, Out> {
  /** @hidden */
  readonly [CODEC]: MessageCodec<In, Out>
}

/** The two directions of a format. */
export interface MessageCodec<In, Out> {
  /** The type of the decoded messages, for the compiler only. */
  readonly decodes?: In
  /** Encodes a message that is sent. */
  encode(message: Out): unknown
  /** Creates the decoder of one connection. */
  createDecoder(owner: MessageDecoderOwner): MessageDecoder
}
