import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { BrokerSubscriptions, type Receiver } from '../../lib/backplane/broker-subscriptions.ts'
import type { BrokerClient } from '../../lib/backplane/broker.ts'
import { RefusedChannels } from '../../lib/backplane/refused-channels.ts'

/** Lets commands that are answered at once take effect. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

interface Place {
  readonly subscriptions: BrokerSubscriptions
  readonly refused: RefusedChannels
  /** The commands that the broker got. */
  readonly commands: string[]
  readonly failures: unknown[]
  /** The answer of the broker to the next commands. */
  answer: () => Promise<unknown>
}

function place(): Place {
  const refused = new RefusedChannels('p.', () => {})
  const own: Omit<Place, 'subscriptions'> = {
    ...{ refused, commands: [], failures: [] },
    answer: () => Promise.resolve(),
  }
  const send = (command: string, channels: readonly string[]): Promise<unknown> => {
    own.commands.push(`${command} ${channels.length > 3 ? channels.length : channels.join()}`)
    return own.answer()
  }
  const client: BrokerClient = {
    ...{ isReady: true, maxPayload: 100 },
    start: () => {},
    publish: () => Promise.resolve(true),
    subscribe: (channels) => send('subscribe', channels),
    unsubscribe: (channels) => send('unsubscribe', channels),
    ping: () => Promise.resolve(),
    close: () => {},
  }
  const onFailure = (cause: unknown): void => {
    own.failures.push(cause)
    subscriptions.giveUp()
  }
  const subscriptions = new BrokerSubscriptions(client, refused, onFailure)
  return Object.assign(own, { subscriptions })
}

/** A receiver, with the number of times that its channel was confirmed. */
function receiver(): Receiver & { confirmed: number } {
  const own = {
    ...{ receive: () => {}, onDropped: undefined, confirmed: 0 },
    onConfirmed: (): void => {
      own.confirmed++
    },
  }
  return own
}

test('the changes of one turn are one command', async () => {
  const { subscriptions, commands } = place()
  assert.equal(await subscriptions.restore(), true)
  const [one, other] = [subscriptions.add('p.1', receiver()), subscriptions.add('p.2', receiver())]
  await Promise.all([one, other])
  for (const unsubscribe of [await one, await other]) void unsubscribe()
  await turn()
  assert.deepEqual(commands, ['subscribe p.1,p.2', 'unsubscribe p.1,p.2'])
  assert.equal(subscriptions.size, 0)
})

test('a command carries a thousand channels at most', async () => {
  const { subscriptions, commands } = place()
  for (let room = 0; room < 2_500; room++) void subscriptions.add(`p.${room}`, receiver())
  await subscriptions.restore()
  assert.deepEqual(commands, ['subscribe 1000', 'subscribe 1000', 'subscribe 500'])
})

test('what is wanted while suspended waits for the broker, and is confirmed at each connection', async () => {
  const { subscriptions, commands } = place()
  const one = receiver()
  const added = subscriptions.add('p.1', one)
  await turn()
  assert.deepEqual([commands, one.confirmed], [[], 0])
  await subscriptions.restore()
  await added
  subscriptions.suspend()
  await subscriptions.restore()
  assert.deepEqual([commands, one.confirmed], [['subscribe p.1', 'subscribe p.1'], 2])
})

test('an answer of an earlier connection confirms nothing', async () => {
  const own = place()
  const { subscriptions } = own
  await subscriptions.restore()
  const one = receiver()
  let answer = (): void => {}
  own.answer = () => new Promise<void>((resolve) => (answer = resolve))
  void subscriptions.add('p.1', one)
  await turn()
  subscriptions.suspend()
  answer()
  await turn()
  assert.equal(one.confirmed, 0)
  own.answer = () => Promise.resolve()
  assert.equal(await subscriptions.restore(), true)
  assert.equal(one.confirmed, 1)
})

test('a broker that is down keeps no subscriber waiting', async () => {
  const own = place()
  const { subscriptions, failures } = own
  own.answer = () => Promise.reject(new Error('gone'))
  const added = subscriptions.add('p.1', receiver())
  assert.equal(await subscriptions.restore(), false)
  assert.equal(failures.length, 1)
  await added
  await subscriptions.add('p.2', receiver())
  assert.equal(subscriptions.size, 2)
})

test('a refused channel is listed, and asked for again until it is heard', async (t: TestContext) => {
  t.mock.method(console, 'error', () => {})
  const own = place()
  const { subscriptions, refused, commands } = own
  await subscriptions.restore()
  const one = receiver()
  own.answer = () => {
    subscriptions.refuse('p.1', new Error('NOPERM'))
    return Promise.resolve()
  }
  await subscriptions.add('p.1', one)
  assert.deepEqual(
    refused.list().map(({ channel }) => channel),
    ['p.1'],
  )
  own.answer = () => Promise.resolve()
  subscriptions.retryRefused()
  await turn()
  assert.deepEqual(commands, ['subscribe p.1', 'subscribe p.1'])
  assert.deepEqual([refused.list(), one.confirmed], [[], 1])
})
