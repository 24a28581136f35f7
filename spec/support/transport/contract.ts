import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Transport } from '../../../lib/transport/transport.ts'
import { cases, runCase } from './cases.ts'

/** Two joined transports, and what takes down what stands behind them. */
export interface Joined {
  readonly ends: readonly [Transport, Transport]
  readonly release: () => Promise<void>
}

/** Tests what every transport does, whatever it is made of. */
export function transportContract(name: string, join: () => Promise<Joined>): void {
  for (const each of cases) {
    test(`${name}: ${each.name}`, async () => {
      const { ends, release } = await join()
      await runCase(each, ends, assert)
      await release()
    })
  }
}
