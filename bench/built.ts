type Package = typeof import('../lib/index.ts')
type Channels = typeof import('../lib/channels/index.ts')

/** The build that users get, and not the sources, which a loader would change on their way. */
export const { json, listen, WebsocketClient, WebsocketServer } = (await import(
  new URL('../dist/index.js', import.meta.url).href
)) as Package
export const { link } = (await import(
  new URL('../dist/testing/index.js', import.meta.url).href
)) as typeof import('../lib/testing/index.ts')
export const { redisBackplane } = (await import(
  new URL('../dist/redis.js', import.meta.url).href
)) as typeof import('../lib/redis.ts')
export const { natsBackplane } = (await import(
  new URL('../dist/nats.js', import.meta.url).href
)) as typeof import('../lib/nats.ts')
export const { ChannelServer } = (await import(
  new URL('../dist/channels/index.js', import.meta.url).href
)) as Channels
