// Ours, with a subscriber that is told of everything that happens.
import { subscribe } from 'node:diagnostics_channel'

for (const name of ['open', 'close', 'message', 'drop', 'refusal', 'join', 'leave']) {
  subscribe(`simplewebsockets:${name}`, () => {})
}
await import('./ours.ts')
