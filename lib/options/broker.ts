import { bytes, milliseconds, settle, type Rule, type Settled } from './rules.ts'

/** Options of a backplane over a broker. */
export interface BrokerOptions {
  /**
   * Text that the names of all channels begin with. Programs that share a broker choose different ones.
   *
   * @default 'simplewebsockets.'
   */
  prefix?: string | undefined
  /**
   * Milliseconds between pings to the broker. A broker that doesn't answer for as long is down, though
   * its connection stands.
   *
   * @default 5_000
   */
  heartbeat?: number | undefined
  /**
   * Bytes that may wait for the broker to take them. What is more is dropped and counted.
   *
   * @default 16 MiB
   */
  maxBufferedAmount?: number | undefined
}

/** The rules of these options. */
export const brokerRules = {
  prefix: {
    fallback: 'simplewebsockets.',
    wanted: 'a string without white space, * and >',
    accepts: (value) => typeof value === 'string' && /^[^\s*>]{0,128}$/.test(value),
  } as Rule<string>,
  heartbeat: milliseconds(5_000, 1),
  maxBufferedAmount: bytes(16 * 1024 * 1024),
}

/**
 * Settles the options of a backplane over a broker.
 *
 * @throws TypeError for an option that is unknown or can't be.
 */
export function resolveBroker(given: BrokerOptions | undefined): Settled<typeof brokerRules> {
  return settle(brokerRules, given)
}
