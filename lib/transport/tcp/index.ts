export { dial } from './dial.ts'
export { makeUpgrader } from './upgrade.ts'

import type { OnWake } from '../transport.ts'

/** Calls back never: a process is told nothing of the network, and finds out by trying. */
export const onWake: OnWake = () => () => {}
