import assert from 'node:assert/strict'
import { mock, test, type TestContext } from 'node:test'
import type { ConnectionCore } from '../../lib/connection/connection-core.ts'
import { Keepalive } from '../../lib/connection/keepalive.ts'

const PERIOD = 1_000

/** A connection as the keepalive sees it. */
type Watched = Pick<
  ConnectionCore,
  'lastBytesReceived' | 'lastPinged' | 'isPaused' | 'probe' | 'onTimeout'
>

class Peer implements Watched {
  lastBytesReceived = 0
  lastPinged = false
  isPaused = false
  readonly transport = { bytesReceived: 200, isBusy: false }
  probes = 0
  timeouts = 0

  probe(): void {
    this.probes++
  }

  onTimeout(): void {
    this.timeouts++
  }

  /** Returns the peer as the class whose part it plays. */
  get core(): ConnectionCore {
    return this as Watched as ConnectionCore
  }
}

function watch(t: TestContext, ...peers: Peer[]): Keepalive {
  t.mock.timers.enable({ apis: ['setInterval'] })
  const keepalive = new Keepalive(PERIOD)
  for (const { core } of peers) keepalive.add(core)
  return keepalive
}

test('a peer that is silent for a period is pinged', (t) => {
  const peer = new Peer()
  watch(t, peer)
  t.mock.timers.tick(PERIOD)
  assert.equal(peer.probes, 0) // what it had sent by then is a sign of life
  t.mock.timers.tick(PERIOD)
  assert.equal(peer.probes, 1)
  assert.equal(peer.timeouts, 0)
})

test('a peer that is silent for another period is given up', (t) => {
  const peer = new Peer()
  watch(t, peer)
  t.mock.timers.tick(3 * PERIOD - 1)
  assert.equal(peer.timeouts, 0)
  t.mock.timers.tick(1)
  assert.equal(peer.timeouts, 1)
  assert.equal(peer.probes, 1)
})

test('any byte after a ping is a sign of life', (t) => {
  const peer = new Peer()
  watch(t, peer)
  for (let answered = 1; answered < 10; answered++) {
    t.mock.timers.tick(2 * PERIOD)
    assert.equal(peer.probes, answered)
    peer.transport.bytesReceived++
  }
  assert.equal(peer.timeouts, 0)
})

test('a busy peer is never pinged', (t) => {
  const peer = new Peer()
  watch(t, peer)
  for (let beat = 0; beat < 10; beat++) {
    peer.transport.bytesReceived++
    t.mock.timers.tick(PERIOD)
  }
  assert.equal(peer.probes, 0)
})

test('a peer that is not read from is probed every period, and lives while bytes come', (t) => {
  const peer = new Peer()
  watch(t, peer)
  peer.isPaused = true
  peer.probe = () => {
    peer.probes++
    peer.transport.bytesReceived++
  }
  t.mock.timers.tick(10 * PERIOD)
  assert.deepEqual([peer.probes, peer.timeouts], [10, 0])
})

test('a peer that is not read from is given up when a probe brings nothing for a period', (t) => {
  const peer = new Peer()
  watch(t, peer)
  peer.isPaused = true
  t.mock.timers.tick(2 * PERIOD - 1)
  assert.deepEqual([peer.probes, peer.timeouts], [1, 0])
  t.mock.timers.tick(1)
  assert.deepEqual([peer.probes, peer.timeouts], [1, 1])
})

test('a peer that comes just before a beat has whole periods all the same', (t) => {
  const [early, late] = [new Peer(), new Peer()]
  late.transport.bytesReceived = 0
  const keepalive = watch(t, early)
  t.mock.timers.tick(PERIOD - 1)
  keepalive.add(late.core)
  t.mock.timers.tick(1)
  assert.equal(late.probes, 0)
  t.mock.timers.tick(PERIOD)
  assert.deepEqual([late.probes, late.timeouts], [1, 0])
})

test('one timer serves all, and each is judged alone', (t) => {
  const [silent, busy] = [new Peer(), new Peer()]
  const timers = mock.method(globalThis, 'setInterval')
  t.after(() => timers.mock.restore())
  const keepalive = new Keepalive(2 ** 31 - 1)
  keepalive.add(silent.core)
  keepalive.add(busy.core)
  assert.equal(timers.mock.callCount(), 1)
  keepalive.delete(silent.core)
  keepalive.delete(busy.core)
})

test('a silent peer is given up while a busy one is left alone', (t) => {
  const [silent, busy] = [new Peer(), new Peer()]
  watch(t, silent, busy)
  for (let beat = 0; beat < 3; beat++) {
    busy.transport.bytesReceived++
    t.mock.timers.tick(PERIOD)
  }
  assert.deepEqual([silent.timeouts, busy.timeouts], [1, 0])
})

test('a peer that is no longer watched is left alone, and the others are not', (t) => {
  const [gone, there] = [new Peer(), new Peer()]
  const keepalive = watch(t, gone, there)
  keepalive.delete(gone.core)
  t.mock.timers.tick(3 * PERIOD)
  assert.deepEqual([gone.probes, gone.timeouts], [0, 0])
  assert.deepEqual([there.probes, there.timeouts], [1, 1])
})

test('a peer that is given up may cease to be watched at once', (t) => {
  const [first, second] = [new Peer(), new Peer()]
  const keepalive = watch(t, first, second)
  first.onTimeout = () => {
    first.timeouts++
    keepalive.delete(first.core)
  }
  t.mock.timers.tick(4 * PERIOD)
  assert.equal(first.timeouts, 1)
  assert.ok(second.timeouts > 0)
})

test('the timer stops with the last one watched, and starts anew with the next', (t) => {
  const [first, second] = [new Peer(), new Peer()]
  const keepalive = watch(t, first)
  t.mock.timers.tick(PERIOD)
  keepalive.delete(first.core)
  t.mock.timers.tick(PERIOD / 2)
  keepalive.add(second.core)
  t.mock.timers.tick(2 * PERIOD - 1)
  assert.equal(second.probes, 0)
  t.mock.timers.tick(1)
  assert.equal(second.probes, 1)
})

test('a stall counts as a quarter of a period, however long it was', (t) => {
  const ticks: (() => void)[] = []
  const timers = mock.method(globalThis, 'setInterval', (tick: () => void, every: number) => {
    assert.equal(every, PERIOD / 4)
    ticks.push(tick)
    return { unref() {} }
  })
  t.after(() => timers.mock.restore())
  const peer = new Peer()
  new Keepalive(PERIOD).add(peer.core)
  // An interval that is late by many periods calls back once.
  const pass = (count: number): void => {
    for (let passed = 0; passed < count; passed++) ticks[0]?.()
  }
  pass(8)
  assert.deepEqual([peer.probes, peer.timeouts], [1, 0])
  pass(3)
  assert.equal(peer.timeouts, 0)
  peer.transport.bytesReceived++ // the answer, read since
  pass(1)
  assert.equal(peer.timeouts, 0)
})

test('ceasing to watch a stranger changes nothing', (t) => {
  const peer = new Peer()
  const keepalive = watch(t, peer)
  keepalive.delete(new Peer().core)
  t.mock.timers.tick(2 * PERIOD)
  assert.equal(peer.probes, 1)
})

test('the timer keeps no process alive', (t) => {
  const timers = mock.method(globalThis, 'setInterval')
  t.after(() => timers.mock.restore())
  const [keepalive, peer] = [new Keepalive(PERIOD), new Peer()]
  keepalive.add(peer.core)
  assert.equal(timers.mock.calls[0]?.result?.hasRef(), false)
  keepalive.delete(peer.core)
})

test('a peer is not given up while what it sent is still worked on', (t) => {
  const peer = new Peer()
  watch(t, peer)
  peer.transport.isBusy = true
  t.mock.timers.tick(10 * PERIOD)
  assert.equal(peer.timeouts, 0)
  peer.transport.isBusy = false
  t.mock.timers.tick(PERIOD)
  assert.equal(peer.timeouts, 1)
})
