import { suite, test } from 'node:test'
import { backplaneContract } from 'simplewebsockets/testing'
import { engineOf, is, open, RunningEngine, ways, without } from './engines.ts'

for (const way of ways) {
  suite(way, { skip: without(engineOf(way)), timeout: 60_000 }, () => {
    let engine: RunningEngine | undefined
    const contract = backplaneContract(async () => {
      const url = engine?.url ?? ''
      const [one, other] = [open(way, url), open(way, url)]
      await Promise.all([is(one.backplane, 'up'), is(other.backplane, 'up')])
      return {
        nodes: [one.backplane, other.backplane],
        release: () => Promise.all([one.close(), other.close()]),
      }
    })
    test('its contract', async (t) => {
      engine = await RunningEngine.start(t, engineOf(way))
      for (const { name, run } of contract) await t.test(name, run)
    })
  })
}
