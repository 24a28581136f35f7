import type { CloseReason } from './close-codes.ts'
import type { Data } from './message.ts'

/** Bytes that a waiting message is counted with beside its payload. */
export const MESSAGE_OVERHEAD = 256

/** The consumer of a connection's messages that replaces the `message` listeners (channels). */
export interface MessageSink {
  /**
   * Returns whether so much waits that reading has to pause. `isAwaited` says whether a `once` of
   * the connection waits for something to arrive.
   */
  isFull(isAwaited: boolean): boolean
  /** Makes room at once. Called when the sink is full and reading can't pause. */
  overflow(): void
  /**
   * Takes a message.
   *
   * @throws FrameError when the connection has to close because of this message.
   */
  onMessage(data: Data, size: number): void
  /** Handles a ping from the peer. */
  onPing(): void
  /** Handles the end of the connection. */
  onClose(reason: CloseReason): void
}
