import { adoptByWs, dialBy } from './dialler.ts'
import type { Dial, OnWake } from './transport.ts'

export { makeUpgrader } from './upgrader.ts'

/** Reaches for a server with `ws`. */
export const dial: Dial = dialBy(adoptByWs)

/** Calls back never: a process is told nothing of the network, and finds out by trying. */
export const onWake: OnWake = () => () => {}
