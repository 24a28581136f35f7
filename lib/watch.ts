/** Takes what is told of one kind of event, as a channel of `node:diagnostics_channel` does. */
interface Outlet {
  /** Whether anybody wants to know. */
  readonly hasSubscribers: boolean
  /** Tells them. */
  publish(event: object): void
}

/** Where those who watch a process are told of what happens on a maker's connections. */
export interface Watch {
  /** A connection has ended. */
  readonly close: Outlet
  /** A message came. */
  readonly message: Outlet
  /** A message was dropped. */
  readonly drop: Outlet
}
