import type { ContractTest } from './backplane-contract.ts'
import { lossTests, storageTests } from './history-storage-tests.ts'
import { interruptionTests, subscriptionTests } from './history-subscription-tests.ts'
import { makePair, type HistoryTests } from './history-test-steps.ts'
import type { HistoryStore } from '../channels/history/store.ts'

/** The histories of two nodes over one store, with functions that make the store fail. */
export interface HistoryPair {
  /** The history of each node. */
  readonly nodes: readonly [HistoryStore, HistoryStore]
  /**
   * Breaks the subscriptions of both nodes, as a failing network does. The store restores them by
   * itself.
   */
  readonly interrupt?: () => unknown
  /** Deletes all data of the store, while both nodes continue to run. */
  readonly lose?: () => unknown
  /**
   * Releases the resources that were created for the pair. Called after both histories were closed.
   */
  release(): unknown
}

/** The optional parts of the contract. */
export interface HistoryContractOptions {
  /**
   * Whether the store has `subscribe`.
   *
   * @default true
   */
  subscribes?: boolean | undefined
  /**
   * Whether `make` gives `interrupt`.
   *
   * @default false
   */
  interrupts?: boolean | undefined
  /**
   * Whether `make` gives `lose`.
   *
   * @default false
   */
  loses?: boolean | undefined
}

/** A function that creates a store, or two that share their data, as two nodes do. */
export type MakeHistory = () => HistoryPair | HistoryStore | Promise<HistoryPair | HistoryStore>

/**
 * Returns the tests that every history store has to pass. Pass each one to your test runner. `make`
 * creates the histories of two nodes over an empty store, or one that serves a single node; each
 * test calls it once.
 */
export function historyContract(
  make: MakeHistory,
  { subscribes = true, interrupts = false, loses = false }: HistoryContractOptions = {},
): readonly ContractTest[] {
  const all: HistoryTests = {
    ...storageTests,
    ...(subscribes && subscriptionTests),
    ...(interrupts && interruptionTests),
    ...(loses && lossTests),
  }
  return Object.entries(all).map(([name, test]) => ({
    name,
    async run() {
      const pair = await makePair(make)
      const [one, other] = pair.nodes
      try {
        await test(one, other, pair, make)
      } finally {
        await one.close?.()
        await other.close?.()
        await pair.release()
      }
    },
  }))
}
