import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Listenable } from '../../lib/events/listenable.ts'
import { EMITTER, type EVENTS } from '../../lib/internal.ts'
import { errorLog } from '../../lib/error-log.ts'
import { CallbackError, ClosedError, WebsocketError } from '../../lib/errors.ts'
import { listen } from '../../lib/events/listen.ts'
import { once } from '../../lib/events/once.ts'
import { Emitter, type EventSpec } from '../../lib/events/emitter.ts'
import { printedBy } from '../support/printed.ts'

interface ShopEvents {
  /** Held, and given one at a time. */
  order: string
  bell: string
  error: WebsocketError
  shut: string
}

const PLAN: EventSpec<ShopEvents> = {
  kind: 'shop',
  events: ['order', 'bell', 'error', 'shut'],
  queuedEvent: 'order',
  peerEvents: ['bell'],
  terminalEvent: 'shut',
}

/** A target of its own, that notes what it is told. */
class Shop extends Emitter<ShopEvents> implements Listenable<ShopEvents> {
  declare readonly [EVENTS]?: ShopEvents
  changes = 0

  constructor(plan = PLAN) {
    super(plan)
  }

  get [EMITTER](): this {
    return this
  }

  override onChange(): void {
    super.onChange()
    this.changes++
  }
}

/** A shop of a chain, which notes the listeners that failed. */
class Branch extends Shop {
  readonly failures: [value: unknown, isHeard: boolean][] = []
  readonly #chain: Shop

  constructor(chain: Shop) {
    super()
    this.#chain = chain
  }

  override get parent(): Shop {
    return this.#chain
  }

  override onListenerFailed(value: unknown, isHeard: boolean): void {
    this.failures.push([value, isHeard])
  }
}

/** Lets what was put off to the end of the turn happen. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

const fail = (): never => {
  throw new Error('boom')
}

test('nothing waits where nothing was put', () => {
  const shop = new Shop()
  assert.deepEqual([shop.queuedCount, shop.waitingBytes], [0, 0])
  assert.equal(shop.hasListeners('order'), false)
  assert.equal(shop.hasListeners('bell'), false)
})

test('a value that is enqueued waits, with its bytes, until there is a listener', async () => {
  const shop = new Shop()
  shop.enqueue('tea', 3)
  shop.enqueue('coffee', 6)
  assert.deepEqual([shop.queuedCount, shop.waitingBytes], [2, 9])
  assert.equal(await once(shop, 'order'), 'tea')
  assert.deepEqual([shop.queuedCount, shop.waitingBytes], [1, 6])
})

test('hasListeners tells of both kinds of events whether there is a listener', () => {
  const shop = new Shop()
  for (const event of ['order', 'bell'] as const) {
    const unlisten = listen(shop, event, () => {})
    assert.equal(shop.hasListeners(event), true)
    unlisten()
    assert.equal(shop.hasListeners(event), false)
  }
})

test('an event that the plan does not have is refused, whatever it is', () => {
  const shop = new Shop()
  for (const event of PLAN.events) shop.assertEvent(event)
  assert.throws(() => shop.assertEvent('bells'), {
    message: /of a shop `bells`: did you mean `bell`/,
  })
  assert.throws(() => shop.assertEvent(Symbol('bell')), TypeError)
})

test('emit tells whether there was a listener', () => {
  const shop = new Shop()
  assert.equal(shop.emit('bell', 'ding'), false)
  const heard: string[] = []
  const unlisten = listen(shop, 'bell', (sound) => void heard.push(sound))
  assert.equal(shop.emit('bell', 'dong'), true)
  unlisten()
  assert.equal(shop.emit('bell', 'ding'), false)
  assert.deepEqual(heard, ['dong'])
})

test('a target hears when a listener is added, and when it is removed', () => {
  for (const event of ['order', 'bell'] as const) {
    const shop = new Shop()
    const unlisten = listen(shop, event, () => {})
    assert.ok(shop.changes > 0)
    const before = shop.changes
    unlisten()
    assert.ok(shop.changes > before)
  }
})

test('reading goes on while a once waits for what the peer sends', async () => {
  const shop = new Shop()
  const stopper = new AbortController()
  const shut = once(shop, 'shut')
  assert.deepEqual([shop.awaitsArrival, shop.awaitsEnd], [false, true])
  const bell = once(shop, 'bell')
  assert.equal(shop.awaitsArrival, true)
  shop.emit('bell', 'ding')
  assert.equal(shop.awaitsArrival, false)
  const order = once(shop, 'order')
  const given = once(shop, 'order', { signal: stopper.signal })
  assert.equal(shop.awaitsArrival, true)
  stopper.abort(new Error('why'))
  assert.equal(shop.awaitsArrival, true)
  shop.end('night')
  await Promise.resolve()
  assert.deepEqual([shop.awaitsArrival, shop.awaitsEnd], [false, false])
  assert.equal(await bell, 'ding')
  assert.equal(await shut, 'night')
  await assert.rejects(order, ClosedError)
  await assert.rejects(given, /why/)
})

test('a target ends once, and its first end is the one that sticks', async () => {
  const shop = new Shop()
  const ends: string[] = []
  listen(shop, 'shut', (why) => void ends.push(why))
  shop.end('night')
  shop.end('fire')
  assert.deepEqual(ends, ['night'])
  assert.equal(await once(shop, 'shut'), 'night')
})

test('a target that never had a listener ends, too', async () => {
  const shop = new Shop()
  shop.end('night')
  await assert.rejects(once(shop, 'bell'), {
    message: 'the shop has closed',
    closeCode: 1006,
    code: 'ERR_CLOSED',
  })
  await assert.rejects(once(shop, 'order'), ClosedError)
  assert.equal(await once(shop, 'shut'), 'night')
})

test('a target without an event for its end ends waits and loops all the same', async () => {
  const { kind, events } = PLAN
  const shop = new Shop({ kind, events })
  const [loop, wait] = [listen(shop, 'bell'), once(shop, 'bell')]
  shop.end('night')
  assert.deepEqual(await loop.next(), { done: true, value: undefined })
  await assert.rejects(wait, ClosedError)
  listen(shop, 'shut', () => assert.fail('there is no such end'))
  await turn()
})

test('waits can end without the target: then callbacks stay, and a new wait waits', async () => {
  const shop = new Shop()
  const heard: string[] = []
  listen(shop, 'bell', (sound) => void heard.push(sound))
  const [loop, wait] = [listen(shop, 'bell'), once(shop, 'bell')]
  shop.endWaits()
  assert.deepEqual(await loop.next(), { done: true, value: undefined })
  await assert.rejects(wait, ClosedError)
  const again = once(shop, 'bell')
  shop.emit('bell', 'ding')
  assert.equal(await again, 'ding')
  assert.deepEqual(heard, ['ding'])
  new Shop().endWaits() // without a wait there is nothing to do
})

test('a target that begins again has its callbacks, and its end sticks no longer', async () => {
  const shop = new Shop()
  const heard: string[] = []
  listen(shop, 'bell', (sound) => void heard.push(sound))
  shop.end('night')
  shop.reopen()
  const [bell, shut] = [once(shop, 'bell'), once(shop, 'shut')]
  shop.emit('bell', 'ding')
  assert.equal(await bell, 'ding')
  shop.end('fire')
  assert.equal(await shut, 'fire')
  assert.deepEqual(heard, ['ding'])
})

test('a wait made on an ended target that may begin again is one of its next life', async () => {
  const shop = new Shop({ ...PLAN, reopens: true })
  for (const reason of ['night', 'fire']) {
    shop.end(reason)
    const [wait, loop] = [once(shop, 'bell'), listen(shop, 'bell')]
    await turn()
    shop.reopen()
    shop.emit('bell', 'ding')
    assert.equal(await wait, 'ding')
    assert.deepEqual(await loop.next(), { done: false, value: 'ding' })
  }
})

test('a wait made on an ended target that begins again and ends without it fails', async () => {
  const shop = new Shop({ ...PLAN, reopens: true })
  shop.end('night')
  const wait = once(shop, 'bell')
  shop.reopen()
  shop.end('fire')
  await assert.rejects(wait, ClosedError)
})

test('a wait for the end of a target that reopens in this turn gets the end it had', async () => {
  const shop = new Shop()
  shop.end('night')
  const shut = once(shop, 'shut')
  shop.reopen()
  assert.equal(await shut, 'night')
})

test('stopping twice stops no other listener', () => {
  const shop = new Shop()
  const heard: string[] = []
  const taker = { cursor: 0, isBusy: false, deliver: () => undefined, onEnd: () => {} }
  shop.addListener<string>('bell', taker)
  listen(shop, 'bell', (sound) => void heard.push(sound))
  shop.removeListener('bell', taker)
  shop.removeListener('bell', taker)
  shop.resume('bell', taker)
  shop.emit('bell', 'ding')
  assert.deepEqual(heard, ['ding'])
})

test('what is asked of an ended target is asked in vain', () => {
  const shop = new Shop()
  shop.end('night')
  const taker = { cursor: 0, isBusy: false, deliver: () => undefined, onEnd: () => {} }
  shop.addListener<string>('bell', taker)
  shop.resume('bell', taker)
  shop.removeListener('bell', taker)
})

test('a failure is an error event of its own target first', async () => {
  const chain = new Shop()
  const shop = new Branch(chain)
  listen(chain, 'error', () => assert.fail('somebody has heard of it'))
  const failed = once(shop, 'error')
  listen(shop, 'bell', fail)
  shop.emit('bell', 'ding')
  const error = await failed
  assert.ok(error instanceof CallbackError)
  assert.equal(error.event, 'bell')
})

test('a failure that no listener hears goes to the parent, and counts as heard then', async () => {
  const chain = new Shop()
  const shop = new Branch(chain)
  const failed = once(chain, 'error')
  listen(shop, 'bell', fail)
  shop.emit('bell', 'ding')
  assert.equal((await failed).message, 'boom')
  assert.deepEqual(shop.failures, [['ding', true]])
})

test('a failure that no listener hears anywhere is printed, and told with its value', async () => {
  const shop = new Branch(new Shop())
  const printed = await printedBy(() => {
    listen(shop, 'bell', fail)
    shop.emit('bell', 'ding')
  })
  assert.equal(printed.length, 1)
  assert.deepEqual(shop.failures, [['ding', false]])
})

test('a failure that no listener hears is printed where there is no parent, too', async () => {
  const shop = new Shop()
  const printed = await printedBy(async () => {
    listen(shop, 'order', () => Promise.reject(new Error('boom')))
    shop.enqueue('tea', 3)
    await turn()
  })
  assert.deepEqual(
    printed.map((error) => (error as Error).message),
    ['boom'],
  )
})

test('a listener that waited for what has closed did not fail, and nothing is printed', async () => {
  const wagon = {}
  class Cart extends Branch {
    override subjects(value: unknown): readonly unknown[] {
      return [wagon, value]
    }
  }
  const cart = new Cart(new Shop())
  const visitor = {}
  const printed = await printedBy(() => {
    cart.handleListenerFailure('bell', new ClosedError('gone', { target: wagon }), 'ding')
    cart.handleListenerFailure('bell', new ClosedError('gone', { target: visitor }), visitor)
  })
  assert.deepEqual(printed, [])
  assert.deepEqual(cart.failures, [])
})

test('a listener that waited for something else that has closed did fail', async () => {
  const shop = new Branch(new Shop())
  const printed = await printedBy(() => {
    shop.handleListenerFailure('bell', new ClosedError('gone', { target: {} }), 'ding')
    shop.handleListenerFailure('order', new ClosedError('gone'), 'dong')
  })
  assert.equal(printed.length, 2)
  assert.deepEqual(shop.failures, [
    ['ding', false],
    ['dong', false],
  ])
})

test('a listener that fails because it waited for a closed target is not reported', () => {
  const chain = new Shop()
  const visitor = {}
  const shop = new Branch(chain)
  listen(chain, 'error', () => assert.fail('it is an ordinary disconnect'))
  shop.handleListenerFailure('bell', new ClosedError('gone', { target: visitor }), visitor)
  assert.deepEqual(shop.failures, [])
})

test('failures of one event are printed once within a second', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const shop = new Shop()
  const printed = await printedBy(() => {
    listen(shop, 'bell', fail)
    for (let count = 0; count < 1_000; count++) shop.emit('bell', 'ding')
    errorLog.flush()
  })
  assert.equal(printed.length, 2)
  assert.match(String(printed[1]), /^… and 999 more like it .*: `bell` of a shop failed/)
})

test('a failing error listener is printed: no other one is told, nothing comes of it', async () => {
  const chain = new Shop()
  const shop = new Branch(chain)
  listen(chain, 'error', () => assert.fail('it is told to nobody'))
  const printed = await printedBy(() => {
    listen(shop, 'error', fail)
    assert.equal(shop.reportError(new WebsocketError('first')), true)
  })
  assert.equal(printed.length, 1)
  assert.deepEqual(shop.failures, [])
})

test('a report tells whether a listener heard it', () => {
  const chain = new Shop()
  const shop = new Branch(chain)
  const error = new WebsocketError('x')
  assert.equal(shop.reportError(error), false)
  const unlisten = listen(chain, 'error', () => {})
  assert.equal(shop.reportError(error), true)
  unlisten()
  assert.equal(chain.reportError(error), false)
})

test('a report goes up from a target that has no error event', async () => {
  const chain = new Shop()
  class Stall extends Emitter<{ bell: string }> {
    override get parent(): Shop {
      return chain
    }
  }
  const stall = new Stall({ kind: 'stall', events: ['bell'] })
  const heard = once(chain, 'error')
  stall.handleListenerFailure('bell', new Error('boom'), 'ding')
  assert.equal((await heard).message, 'boom')
})
