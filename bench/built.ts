type Package = typeof import('../lib/index.ts')

/** What users get: the build, not the sources, which a loader would change on their way. */
export const { listen, WebsocketClient, WebsocketServer } = (await import(
  new URL('../dist/index.js', import.meta.url).href
)) as Package
