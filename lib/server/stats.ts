import type { AnyConnection } from '../connection/connection.ts'
import type { Counts, DropReason } from '../connection/counts.ts'
import { EMITTER } from '../internal.ts'
import type { RefusalReason } from './handshake/peer-connect-error.ts'

/** The counters of a server since its creation. */
export interface ServerStats {
  /** The connections that are open or closing. */
  readonly connections: number
  /** The pending handshakes: peers that the server has not accepted yet. */
  readonly handshakes: number
  /** The messages received from peers. */
  readonly received: number
  /** The messages sent to peers, counted once for each peer. */
  readonly sent: number
  /**
   * The bytes received, as on the wire: handshakes and frame headers included, compressed data in
   * its compressed size.
   */
  readonly bytesReceived: number
  /**
   * The bytes sent, or waiting for the peer to read them, as on the wire: frame headers included,
   * compressed data in its compressed size. For a stream that doesn't count its bytes, at least the
   * bytes of the messages.
   */
  readonly bytesSent: number
  /** The total of dropped messages, and of dropped events in loops that are too slow. */
  readonly dropped: number
  /** The dropped messages, and the dropped events in loops that are too slow, by reason. */
  readonly drops: Readonly<Record<DropReason, number>>
  /** The total of rejected peers. */
  readonly refused: number
  /** The rejected peers, by reason. */
  readonly refusals: Readonly<Record<RefusalReason, number>>
}

/** The parts of a server that its counters are read from. */
interface StatsSource {
  readonly clients: Iterable<AnyConnection>
  readonly handshakes: number
  /** The counters, with the bytes of connections that have closed. */
  readonly counts: Counts
  readonly refusals: Readonly<Record<RefusalReason, number>>
}

/** Returns a copy of a server's counters. */
export function readStats({ clients, handshakes, counts, refusals }: StatsSource): ServerStats {
  const { received, sent, drops } = counts
  let { bytesReceived, bytesSent } = counts
  let connections = 0
  for (const client of clients) {
    connections++
    bytesReceived += client[EMITTER].transport.bytesReceived
    bytesSent += client[EMITTER].transport.bytesSent ?? 0
  }
  return {
    connections,
    handshakes,
    received,
    sent,
    bytesReceived,
    bytesSent,
    dropped: sum(drops),
    drops: { ...drops },
    refused: sum(refusals),
    refusals: { ...refusals },
  }
}

function sum(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((total, count) => total + count, 0)
}
