import { test } from 'node:test'
import { historyContract } from 'simplewebsockets/testing'
import { MemoryHistory } from '../../lib/channels/history/memory-history.ts'

for (const { name, run } of historyContract(() => new MemoryHistory(), { subscribes: false })) {
  test(`memory: ${name}`, run)
}
