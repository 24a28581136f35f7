import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Consumer } from '../../lib/events/consumer.ts'
import { DeliveryQueue } from '../../lib/events/delivery-queue.ts'
import { deferred } from '../../lib/promises.ts'

const ENDED = '(ended)'

/** Lets what was put off to the end of the turn happen. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** An inbox, and how often it said that what waits has changed. */
function make(): { inbox: DeliveryQueue<string>; changes: { count: number } } {
  const changes = { count: 0 }
  return { inbox: new DeliveryQueue({ onChange: () => changes.count++ }), changes }
}

type Then = (value: string, taker: Consumer<string>) => PromiseLike<unknown> | undefined

/** Adds a taker that notes what it takes, and then does something. */
function note(
  inbox: DeliveryQueue<string>,
  then: Then = () => undefined,
  how: Pick<Consumer<string>, 'onDemand'> = {},
): { taken: string[]; taker: Consumer<string> } {
  const taken: string[] = []
  const taker: Consumer<string> = {
    ...how,
    cursor: 0,
    isBusy: false,
    deliver: (value) => {
      taken.push(value)
      return then(value, taker)
    },
    onEnd: () => taken.push(ENDED),
  }
  inbox.add(taker)
  return { taken, taker }
}

/** Adds a taker that works on every value until it is told to go on. */
function slow(
  inbox: DeliveryQueue<string>,
): ReturnType<typeof note> & { goOn: () => Promise<void> } {
  let work = deferred<undefined>()
  const noted = note(inbox, () => {
    work = deferred()
    return work.promise
  })
  const goOn = (): Promise<void> => {
    work.resolve(undefined)
    return turn()
  }
  return { ...noted, goOn }
}

function put(inbox: DeliveryQueue<string>, ...values: string[]): void {
  for (const value of values) inbox.enqueue(value, value.length)
}

test('values wait for the first taker, in order', async () => {
  const { inbox } = make()
  put(inbox, 'one', 'two', 'three')
  assert.equal(inbox.waiting, 3)
  const { taken } = note(inbox)
  assert.deepEqual(taken, [])
  await turn()
  assert.deepEqual(taken, ['one', 'two', 'three'])
  assert.equal(inbox.waiting, 0)
})

test('an inbox is heard while it has a taker', () => {
  const { inbox } = make()
  assert.equal(inbox.hasConsumers, false)
  const { taker } = note(inbox)
  assert.equal(inbox.hasConsumers, true)
  inbox.remove(taker)
  assert.equal(inbox.hasConsumers, false)
})

test('a value goes at once to those who can take it', () => {
  const { inbox } = make()
  const [one, other] = [note(inbox), note(inbox)]
  put(inbox, 'one')
  assert.deepEqual([one.taken, other.taken], [['one'], ['one']])
  assert.equal(inbox.waiting, 0)
})

test('the bytes that wait are counted, and an empty value counts as one', async () => {
  const { inbox } = make()
  put(inbox, 'four', '', 'two')
  assert.equal(inbox.bytes, 8)
  note(inbox)
  await turn()
  assert.equal(inbox.bytes, 0)
  put(inbox, 'four')
  assert.equal(inbox.bytes, 0)
})

test('a taker that is busy gets its next value when it is done', async () => {
  const { inbox } = make()
  const { taken, goOn } = slow(inbox)
  put(inbox, 'one', 'two', 'three')
  await turn()
  assert.deepEqual(taken, ['one'])
  assert.equal(inbox.waiting, 2)
  await goOn()
  assert.deepEqual(taken, ['one', 'two'])
  assert.equal(inbox.bytes, 5)
  await goOn()
  assert.deepEqual(taken, ['one', 'two', 'three'])
  assert.equal(inbox.waiting, 0)
})

test('a slow taker never delays another', async () => {
  const { inbox } = make()
  const late = slow(inbox)
  const quick = note(inbox)
  put(inbox, 'one', 'two', 'three')
  assert.deepEqual(quick.taken, ['one', 'two', 'three'])
  assert.deepEqual(late.taken, ['one'])
  assert.equal(inbox.waiting, 2) // for the slow one
  await late.goOn()
  await late.goOn()
  assert.deepEqual(late.taken, ['one', 'two', 'three'])
  assert.deepEqual(quick.taken, ['one', 'two', 'three'])
  assert.equal(inbox.waiting, 0)
})

test('values are let go once the slowest has taken them', async () => {
  const { inbox } = make()
  const [one, other] = [slow(inbox), slow(inbox)]
  put(inbox, 'a', 'b', 'c')
  await one.goOn()
  await one.goOn()
  assert.equal(inbox.waiting, 2)
  await other.goOn()
  assert.equal(inbox.waiting, 1)
  await other.goOn()
  assert.equal(inbox.waiting, 0)
  assert.deepEqual(one.taken, other.taken)
})

test('a taker that comes later begins with the oldest value that waits', async () => {
  const { inbox } = make()
  const late = slow(inbox)
  put(inbox, 'one', 'two', 'three')
  const next = note(inbox)
  await turn()
  assert.deepEqual(next.taken, ['two', 'three'])
  assert.deepEqual(late.taken, ['one'])
})

test('values wait between two takers that each take one', async () => {
  const { inbox } = make()
  put(inbox, 'one', 'two')
  const first = note(inbox, (_, taker) => {
    inbox.remove(taker)
  })
  await turn()
  put(inbox, 'three')
  assert.deepEqual(first.taken, ['one'])
  assert.equal(inbox.waiting, 2)
  const second = note(inbox, (_, taker) => {
    inbox.remove(taker)
  })
  await turn()
  assert.deepEqual(second.taken, ['two'])
  assert.equal(inbox.waiting, 1)
})

test('a taker added inside a taker begins with the value after the one in hand', async () => {
  const { inbox } = make()
  let inner: ReturnType<typeof note> | undefined
  const outer = note(inbox, () => {
    inner ??= note(inbox)
  })
  put(inbox, 'one', 'two')
  await turn()
  assert.deepEqual(outer.taken, ['one', 'two'])
  assert.deepEqual(inner?.taken, ['two'])
})

test('a taker added inside a taker gets the next value that waits already', async () => {
  const { inbox } = make()
  put(inbox, 'one', 'two')
  let inner: ReturnType<typeof note> | undefined
  const outer = note(inbox, () => {
    inner ??= note(inbox)
  })
  await turn()
  assert.deepEqual(outer.taken, ['one', 'two'])
  assert.deepEqual(inner?.taken, ['two'])
})

test('a new taker begins with the first value that no other one has taken', async () => {
  const { inbox } = make()
  const late = slow(inbox)
  const quick = note(inbox)
  put(inbox, 'one', 'two')
  const next = note(inbox)
  put(inbox, 'three')
  await turn()
  assert.deepEqual(late.taken, ['one'])
  assert.deepEqual(quick.taken, ['one', 'two', 'three'])
  assert.deepEqual(next.taken, ['three'])
})

/** Adds a taker of one value, and when it has that another one, until `count` are through. */
function chain(inbox: DeliveryQueue<string>, count: number): string[] {
  const taken: string[] = []
  const add = (): void => {
    const taker: Consumer<string> = {
      isSingle: true,
      cursor: 0,
      isBusy: false,
      deliver: (value) => {
        inbox.remove(taker)
        if (taken.push(value) < count) void Promise.resolve().then(add)
        return undefined
      },
      onEnd: () => taken.push(ENDED),
    }
    inbox.add(taker)
  }
  add()
  return taken
}

test('takers of one value each, one after the other, lose nothing beside a quick one', async () => {
  const { inbox } = make()
  const quick = note(inbox)
  const [taken, other] = [chain(inbox, 4), chain(inbox, 4)]
  put(inbox, 'one', 'two', 'three', 'four', 'five')
  for (let count = 0; count < 4; count++) await turn()
  assert.deepEqual(quick.taken, ['one', 'two', 'three', 'four', 'five'])
  assert.deepEqual([taken, other], Array(2).fill(['one', 'two', 'three', 'four']))
  await turn()
  assert.deepEqual([inbox.waiting, inbox.bytes], [0, 0])
})

test('takers of one value each, one after the other, repeat nothing beside a slow one', async () => {
  const { inbox } = make()
  const late = slow(inbox)
  put(inbox, 'one', 'two', 'three')
  const taken = chain(inbox, 3)
  for (let count = 0; count < 4; count++) await turn()
  assert.deepEqual(taken, ['two', 'three'])
  await late.goOn()
  await late.goOn()
  assert.deepEqual(late.taken, ['one', 'two', 'three'])
})

test('a taker may remove itself, and the others go on', () => {
  const { inbox } = make()
  const one = note(inbox, (_, taker) => {
    inbox.remove(taker)
  })
  const other = note(inbox)
  put(inbox, 'one', 'two')
  assert.deepEqual(one.taken, ['one'])
  assert.deepEqual(other.taken, ['one', 'two'])
})

test('a taker may remove another, which then takes nothing more', async () => {
  const { inbox } = make()
  note(inbox, () => {
    inbox.remove(second.taker)
  })
  const second = note(inbox)
  put(inbox, 'one', 'two')
  await turn()
  assert.deepEqual(second.taken, [])
  assert.equal(inbox.waiting, 0)
})

test('what only a removed taker still had to take waits for the next one', async () => {
  const { inbox } = make()
  const late = slow(inbox)
  put(inbox, 'one', 'two')
  inbox.remove(late.taker)
  assert.equal(inbox.waiting, 1)
  await late.goOn()
  assert.deepEqual(late.taken, ['one'])
  const next = note(inbox)
  await turn()
  assert.deepEqual(next.taken, ['two'])
})

test('what others have taken is let go with the slow one', () => {
  const { inbox } = make()
  const late = slow(inbox)
  note(inbox)
  put(inbox, 'one', 'two', 'three')
  assert.equal(inbox.waiting, 2)
  inbox.remove(late.taker)
  assert.equal(inbox.waiting, 0)
  assert.equal(inbox.bytes, 0)
})

test('removing a taker twice is harmless', () => {
  const { inbox, changes } = make()
  const { taker } = note(inbox)
  inbox.remove(taker)
  const before = changes.count
  inbox.remove(taker)
  assert.equal(changes.count, before)
})

test('a taker that is removed before its first value gets none', async () => {
  const { inbox } = make()
  put(inbox, 'one')
  const { taken, taker } = note(inbox)
  inbox.remove(taker)
  await turn()
  assert.deepEqual(taken, [])
  assert.equal(inbox.waiting, 1)
})

test('a value put inside a taker comes after the one in hand, for all', async () => {
  const { inbox } = make()
  const steps: string[] = []
  for (const name of ['first', 'second']) {
    note(inbox, (value) => {
      if (name === 'first' && value === 'one') put(inbox, 'two')
      steps.push(`${name} ${value}`)
      return undefined
    })
  }
  put(inbox, 'one')
  assert.deepEqual(steps, ['first one', 'second one'])
  await turn()
  assert.deepEqual(steps, ['first one', 'second one', 'first two', 'second two'])
})

test('a taker that pulls takes a value only after a resume', async () => {
  const { inbox } = make()
  put(inbox, 'one', 'two')
  const { taken, taker } = note(inbox, undefined, { onDemand: true })
  await turn()
  assert.deepEqual(taken, [])
  inbox.resume(taker)
  assert.deepEqual(taken, ['one'])
  inbox.resume(taker)
  inbox.resume(taker)
  assert.deepEqual(taken, ['one', 'two'])
  put(inbox, 'three', 'four') // it has asked for one already
  assert.deepEqual(taken, ['one', 'two', 'three'])
  assert.equal(inbox.waiting, 1)
})

test('a taker that pulls may ask for more while it takes', async () => {
  const { inbox } = make()
  put(inbox, 'one', 'two')
  const { taken, taker } = note(
    inbox,
    (_, own) => {
      inbox.resume(own)
    },
    { onDemand: true },
  )
  await turn()
  inbox.resume(taker)
  assert.deepEqual(taken, ['one', 'two'])
  put(inbox, 'three')
  assert.deepEqual(taken, ['one', 'two', 'three'])
})

test('the end comes after the last value', async () => {
  const { inbox } = make()
  const late = slow(inbox)
  const quick = note(inbox)
  put(inbox, 'one', 'two')
  inbox.end()
  assert.deepEqual(quick.taken, ['one', 'two', ENDED])
  assert.deepEqual(late.taken, ['one'])
  await late.goOn()
  assert.deepEqual(late.taken, ['one', 'two'])
  await late.goOn()
  assert.deepEqual(late.taken, ['one', 'two', ENDED])
})

test('a taker that comes after the end takes what waits, and then hears of the end', async () => {
  const { inbox } = make()
  put(inbox, 'one')
  inbox.end()
  const { taken } = note(inbox)
  await turn()
  assert.deepEqual(taken, ['one', ENDED])
})

test('an end inside a taker lets the others take that value first', async () => {
  const { inbox } = make()
  const one = note(inbox, () => {
    inbox.end()
  })
  const other = note(inbox)
  await turn()
  put(inbox, 'one')
  await turn()
  assert.deepEqual(other.taken, ['one', ENDED])
  assert.deepEqual(one.taken, ['one', ENDED])
})

test('an inbox tells when what waits has changed, and not when nothing has', async () => {
  const { inbox, changes } = make()
  const changed = async (act: () => void): Promise<boolean> => {
    const before = changes.count
    act()
    await turn()
    return changes.count > before
  }
  assert.equal(await changed(() => put(inbox, 'one')), true)
  assert.equal(await changed(() => note(inbox)), true)
  assert.equal(await changed(() => put(inbox, 'two')), false) // nothing waited
})

test('an inbox is empty when it tells of its last value', async () => {
  const states: string[] = []
  const inbox = new DeliveryQueue<string>({
    onChange: () => states.push(`${inbox.waiting} of ${inbox.bytes}`),
  })
  put(inbox, 'one', 'two')
  note(inbox)
  await turn()
  assert.deepEqual(states, ['1 of 3', '2 of 6', '2 of 6', '1 of 3', '0 of 0'])
})

test('thousands of values wait and are let go a few at a time, in order', async () => {
  const { inbox } = make()
  const values = Array.from({ length: 5_000 }, (_, index) => `value ${index}`)
  put(inbox, ...values)
  const { taken, taker } = note(inbox, undefined, { onDemand: true })
  await turn()
  for (let left = values.length; left > 0; left--) {
    assert.equal(inbox.waiting, left)
    inbox.resume(taker)
  }
  assert.deepEqual(taken, values)
  assert.equal(inbox.bytes, 0)
})
