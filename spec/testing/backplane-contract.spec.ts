import assert from 'node:assert/strict'
import { test } from 'node:test'
import { memoryBackplane, type Backplane } from 'simplewebsockets'
import { backplaneContract } from 'simplewebsockets/testing'

/** The sentences that a backplane breaks. */
async function broken(make: (sound: Backplane) => Backplane): Promise<string[]> {
  const names: string[] = []
  const contract = backplaneContract(() => {
    const both = make(memoryBackplane())
    return { nodes: [both, both], release: () => {} }
  })
  for (const { name, run } of contract) await run().catch(() => names.push(name))
  return names
}

test('a sound backplane breaks none', async () => {
  assert.deepEqual(await broken((sound) => sound), [])
})

test('one that delivers inside publish is found out', async () => {
  const receivers = new Map<string, Set<(message: Uint8Array) => void>>()
  const hasty: Backplane = {
    publish: (topic, message) => {
      for (const receive of receivers.get(topic) ?? []) receive(message)
    },
    subscribe: (topic, receive) => {
      const own = (message: Uint8Array): void => receive(message)
      receivers.set(topic, (receivers.get(topic) ?? new Set()).add(own))
      return () => void receivers.get(topic)?.delete(own)
    },
    close: () => receivers.clear(),
  }
  const names = await broken(() => {
    receivers.clear()
    return hasty
  })
  assert.deepEqual(names, ['a message comes in a later turn, never inside publish'])
})

test('one that delivers twice is found out', async () => {
  const names = await broken((sound) => ({
    ...sound,
    publish: (topic, message) => {
      void sound.publish(topic, message)
      return sound.publish(topic, message)
    },
  }))
  assert.ok(names.includes('messages of one publisher arrive once each, in order'))
  assert.ok(names.length > 8)
})

test('one that cuts names is found out', async () => {
  const names = await broken((sound) => ({
    ...sound,
    publish: (topic, message) => sound.publish(topic.slice(0, 200), message),
    subscribe: (topic, receive) => sound.subscribe(topic.slice(0, 200), receive),
  }))
  assert.deepEqual(names, ['topics are apart, whatever they are called'])
})

test('one that leaves its release to be called does so also after a failure', async () => {
  let released = 0
  const contract = backplaneContract(() => {
    const both: Backplane = {
      ...memoryBackplane(),
      subscribe: () => Promise.reject(new Error('no')),
    }
    return { nodes: [both, both], release: () => (released += 1) }
  })
  await assert.rejects(contract[0]?.run() ?? Promise.resolve(), /no/)
  assert.equal(released, 1)
})
