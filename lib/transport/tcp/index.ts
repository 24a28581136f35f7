export { dial } from './dial.ts'
export { makeUpgrader } from './upgrade.ts'

import type { OnWake } from '../transport.ts'

/** Never calls back: Node doesn't report network changes, so a client finds out by trying. */
export const onWake: OnWake = () => () => {}
