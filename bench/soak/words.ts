// The messages that the programs of the soak send to each other.

/** How messages are compressed, where that was asked for: some with takeover, and short ones, too. */
export const compression = process.env.SOAK_COMPRESSION === 'true' && {
  ...{ threshold: 64, serverNoContextTakeover: false, clientNoContextTakeover: false },
  ...{ serverMaxWindowBits: 10, clientMaxWindowBits: 10 },
}

/** A message of a member, as all members of its room hear it. */
export interface Said {
  readonly room: string
  /** One membership of its sender, */
  readonly from: string
  /** which counts what it says, from 1 up. */
  readonly number: number
  /** The node that it was said on: a node that starts again is another one. */
  readonly node: string
  /** Which of all that was said there in this room it is, from 1 up. */
  readonly at: number
}

/** How far a room has come on a node. */
export type Head = Pick<Said, 'room' | 'node' | 'at'>

/** A request of a client without channels to its node, */
export type Ask =
  | { readonly ask: 'join' | 'leave' | 'head'; readonly room: string }
  | { readonly ask: 'say'; readonly room: string; readonly from: string; readonly number: number }
  | { readonly ask: 'drown' }
  | { readonly ask: 'flood' }

/** and what it is told. */
export type Told =
  | ({ readonly told: 'joined' | 'left' | 'head' } & Head)
  | ({ readonly told: 'said' } & Said)
  | { readonly told: 'water' }

/** Counts, by name. */
export type Tally = Readonly<Record<string, number>>

/** The state of a node, and its counts. */
export interface NodeReport {
  readonly answers: NodeOrder
  readonly node: string
  readonly held: Tally
  readonly counted: Tally
  /** The handles that keep Node from ending, as it calls them. */
  readonly handles: Tally
  /** Bytes. */
  readonly heap: number
  /** The members that are present, by topic. */
  readonly present?: Presence | undefined
  readonly violations: readonly string[]
}

/** The members of each topic. */
export type Presence = Readonly<Record<string, readonly string[]>>

/** An order to a node: to collect its garbage before it reports, or to report presence, too. */
export type NodeOrder = 'report' | 'weigh' | 'presence'

/** How the crowd of clients is. */
export interface CrowdReport {
  readonly answers: CrowdOrder
  readonly open: number
  /** Clients that are not where they want to be, and how they are. */
  readonly unsettled: readonly string[]
  readonly counted: Tally
  /** How their connections ended, by code. */
  readonly codes: Tally
  /** Bytes. */
  readonly heap: number
  readonly present?: Presence | undefined
  readonly violations: readonly string[]
}

/** An order to the crowd: to act, to rest, to compare what it heard with what was said, to go. */
export type CrowdOrder = 'report' | 'act' | 'rest' | 'compare' | 'leave'

/** Adds one to what is counted by that name, or more. */
export function count(tally: Record<string, number>, name: string, more = 1): void {
  tally[name] = (tally[name] ?? 0) + more
}

/** Adds up what was counted in several places. */
export function total(tallies: Iterable<Tally>): Record<string, number> {
  const sums: Record<string, number> = {}
  for (const tally of tallies) {
    for (const [name, value] of Object.entries(tally)) count(sums, name, value)
  }
  return sums
}
