import { socketIo, type Dialect } from './wire/dialects.ts'

/** The runtime that runs the file of a contestant. */
export type Runtime = 'node' | 'bun'

/** A server to measure: a file of its name in `servers`. */
export interface Entry {
  readonly name: string
  /** The npm package it needs, if it isn't here anyway. */
  readonly needs?: string
  /** Default: node. */
  readonly runtime?: Runtime
  /** Default: plain WebSockets. */
  readonly dialect?: Dialect
}

/** The contestant that everything is measured against. */
export const BASE = 'ws'

/** The contestants that are always there. */
export const ownEntries: readonly Entry[] = [{ name: 'ours' }, { name: BASE }]

/** All contestants, in the order of the tables. */
export const allEntries: readonly Entry[] = [
  ...ownEntries,
  { name: 'socket.io', needs: 'socket.io', dialect: socketIo },
  { name: 'websocket', needs: 'websocket' },
  { name: 'uws', needs: '@trufflesuite/uws-js-unofficial' },
  { name: 'bun', needs: 'bun', runtime: 'bun' },
  { name: 'net' },
]
