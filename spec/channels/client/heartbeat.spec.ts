import assert from 'node:assert/strict'
import { mock, test, type TestContext } from 'node:test'
import { Heartbeat, type HeartbeatTimings } from '../../../lib/channels/client/heartbeat.ts'

interface Scene {
  readonly pulse: Heartbeat
  /** The course of the connection: each heartbeat, and why the server was given up. */
  readonly story: string[]
  /** Lets time pass; timers only run at the end of what they slept. */
  readonly pass: (time: number, asleep?: number) => void
  /** Answers the last heartbeat. */
  readonly answer: () => void
  reads: boolean
}

/** A pulse on a virtual clock. */
function scene(t: TestContext, rhythm: Partial<HeartbeatTimings>): Scene {
  let now = 0
  mock.timers.enable({ apis: ['setTimeout'] })
  mock.method(performance, 'now', () => now)
  t.after(() => {
    mock.timers.reset()
    mock.restoreAll()
  })
  const story: string[] = []
  let refs = 0
  const socket = {
    ref: () => String(++refs),
    sendFrame: () => story.push('beat'),
    isReading: () => here.reads,
    onHeartbeatTimeout: (why: string) => {
      story.push(why)
      here.pulse.stop()
    },
  }
  const pulse = new Heartbeat(socket, { interval: false, silenceTimeout: false, ...rhythm })
  const pass = (time: number, asleep = 0): void => {
    now += asleep
    for (let left = time; left > 0; left--) {
      now++
      mock.timers.tick(1)
    }
  }
  const answer = (): void => pulse.onReply(String(refs))
  const here: Scene = { pulse, story, pass, answer, reads: true }
  return here
}

test('the next heartbeat is due after the answer to the one before', (t) => {
  const { answer, story, pass } = scene(t, { interval: 100 })
  pass(99)
  assert.deepEqual(story, [])
  pass(1)
  assert.deepEqual(story, ['beat'])
  pass(60)
  answer()
  pass(99)
  assert.deepEqual(story, ['beat'])
  pass(1)
  assert.deepEqual(story, ['beat', 'beat'])
})

test('one that is not answered gives the server up', (t) => {
  const { answer, story, pass } = scene(t, { interval: 100 })
  answer() // to nothing
  pass(199)
  assert.deepEqual(story, ['beat'])
  pass(1)
  assert.deepEqual(story, ['beat', 'no answer to a heartbeat within 100 ms'])
})

test('after a sleep what has come meanwhile is heard first, once', (t) => {
  const { answer, story, pass } = scene(t, { interval: 100 })
  pass(150)
  pass(50, 600_000)
  assert.deepEqual(story, ['beat'])
  answer()
  pass(100)
  assert.deepEqual(story, ['beat', 'beat'])
  pass(100, 600_000)
  assert.deepEqual(story, ['beat', 'beat'])
  pass(100, 600_000)
  assert.deepEqual(story, ['beat', 'beat', 'no answer to a heartbeat within 100 ms'])
})

test('a probe asks now, unless it has asked', (t) => {
  const { pulse, answer, story, pass } = scene(t, { interval: 100 })
  pulse.probe()
  pulse.probe()
  assert.deepEqual(story, ['beat'])
  answer()
  pass(99)
  pulse.probe()
  answer()
  pass(1)
  assert.deepEqual(story, ['beat', 'beat'])
})

test('an answer to another heartbeat is none', (t) => {
  const { pulse, story, pass } = scene(t, { interval: 100 })
  pass(100)
  pulse.onReply('2')
  pulse.onReply(null)
  pass(100)
  assert.deepEqual(story, ['beat', 'no answer to a heartbeat within 100 ms'])
})

test('while nothing is read no answer is missed', (t) => {
  const here = scene(t, { interval: 100 })
  here.reads = false
  here.pass(1_000)
  assert.deepEqual(here.story, ['beat'])
  here.reads = true
  here.pass(100)
  assert.equal(here.story.length, 2)
})

test('silence gives the server up, where it is to say something', (t) => {
  const here = scene(t, { silenceTimeout: 100 })
  here.pass(60)
  here.pulse.onFrame()
  here.pass(99)
  assert.deepEqual(here.story, [])
  here.reads = false
  here.pass(1)
  here.reads = true
  here.pass(99)
  assert.deepEqual(here.story, [])
  here.pass(1)
  assert.deepEqual(here.story, ['nothing came within 100 ms'])
  here.pulse.probe() // there are no heartbeats
  assert.equal(here.story.length, 1)
})
