import { bytes, milliseconds, resolveOptions, type Rule, type Resolved } from '../validation.ts'

/** The options of a backplane over a broker. */
export interface BrokerOptions {
  /**
   * The text that the names of all channels begin with. Programs that share a broker need different
   * ones.
   *
   * @default 'simplewebsockets.'
   */
  prefix?: string | undefined
  /**
   * Milliseconds between pings to the broker. A broker that doesn't answer for as long counts as
   * down, even if its connection is open.
   *
   * @default 5_000
   */
  heartbeat?: number | undefined
  /**
   * The maximum number of bytes that wait for the broker to take them. Further messages are dropped
   * and counted.
   *
   * @default 16 MiB
   */
  maxBufferedAmount?: number | undefined
}

/** The rules of `BrokerOptions`. */
export const brokerRules = {
  prefix: {
    fallback: 'simplewebsockets.',
    expected: 'a string without white space, * and >',
    isValid: (value) => typeof value === 'string' && /^[^\s*>]{0,128}$/.test(value),
  } as Rule<string>,
  heartbeat: milliseconds(5_000, 1),
  maxBufferedAmount: bytes(16 * 1024 * 1024),
}

/**
 * Validates the options of a backplane over a broker and fills in the defaults.
 *
 * @throws TypeError for an option that is unknown or invalid.
 */
export function resolveBroker(options: BrokerOptions | undefined): Resolved<typeof brokerRules> {
  return resolveOptions(brokerRules, options)
}
