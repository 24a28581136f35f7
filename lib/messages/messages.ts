import type { ConnectionCore } from '../connection/connection-core.ts'
import type { ConnectionOwner } from '../connection/connection-owner.ts'
import type { AnyConnection } from '../connection/connection.ts'
import { CODEC } from '../internal.ts'
import type { Transport } from '../transport/transport.ts'
import { DecodingCore, type Codec } from './decoding-core.ts'

/**
 * A format of messages, for the option `messages`: `json` and `codec` make one. `In` is the type of
 * the messages that it decodes, `Out` the type of those that it encodes.
 */
export interface Messages<In, Out> {
  /** @hidden */
  readonly [CODEC]: MessageFormat<In, Out>
}

/** The private half of a format. */
interface MessageFormat<In, Out> {
  /** The type of the decoded messages, for the compiler only. */
  readonly decodes?: In
  /** Encodes a message that is sent. */
  encode(message: Out): unknown
  /** Creates the private half of a connection. */
  createCore(
    connection: AnyConnection,
    owner: ConnectionOwner,
    transport: Transport,
  ): ConnectionCore
}

/** Makes a format of a codec. */
export function toMessages<In, Out>(messageCodec: Codec): Messages<In, Out> {
  return {
    [CODEC]: {
      encode: (message) => messageCodec.encode(message as never),
      createCore: (connection, owner, transport) =>
        new DecodingCore(messageCodec, connection, owner, transport),
    },
  }
}
