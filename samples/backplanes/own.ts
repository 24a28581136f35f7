// A backplane of your own, between the threads of a process, and the proof that it keeps the contract.
// Run: node --conditions=source --import tsx --test samples/backplanes/own.ts
import { test } from 'node:test'
import { BroadcastChannel } from 'node:worker_threads'
import type { Backplane } from 'simplewebsockets'
import { backplaneContract } from 'simplewebsockets/testing'

/** Is one node's: what is posted reaches all other threads, and our own by a second channel. */
function threadBackplane(): Backplane {
  const [out, back] = [new BroadcastChannel('nodes'), new BroadcastChannel('nodes')]
  const receivers = new Set<[topic: string, receive: (message: Uint8Array) => void]>()
  let isOpen = true
  back.onmessage = ({ data }) => {
    const [topic, message] = data as [string, Uint8Array]
    for (const [name, receive] of receivers) if (name === topic) receive(message)
  }
  return {
    publish(topic, message) {
      if (isOpen) out.postMessage([topic, message])
      return isOpen // false: it was dropped
    },
    subscribe(topic, receive) {
      const receiver: [string, typeof receive] = [topic, receive]
      receivers.add(receiver)
      return () => void receivers.delete(receiver)
    },
    close() {
      isOpen = false
      out.close()
      back.close()
    },
  }
}

const contract = backplaneContract(() => {
  const nodes = [threadBackplane(), threadBackplane()] as const // of two nodes, connected
  return { nodes, release: () => {} } // both are closed before that
})
for (const { name, run } of contract) test(name, run)
