import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import {
  CallbackError,
  ClosedError,
  listen,
  memoryBackplane,
  once,
  Room,
  WebsocketClient,
  WebsocketServer,
  type Backplane,
  type Data,
  type ServerOptions,
  type Unsubscribe,
  type WebsocketConnection,
  type WebsocketError,
} from 'simplewebsockets'
import { cut, link, pair } from 'simplewebsockets/testing'
import { printedBy } from '../support/printed.ts'

/** Lets what was put off to the end of the turn happen. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

type Ends = [there: WebsocketConnection, here: WebsocketConnection]

/** Connects one more client. */
const enter = (server: WebsocketServer): Promise<Ends> => link(server, new WebsocketClient())

/** Records what a connection receives from now on. */
function heardBy(connection: WebsocketConnection): Data[] {
  const heard: Data[] = []
  listen(connection, 'message', (message) => void heard.push(message))
  return heard
}

/** Records the failures that a server tells from now on. */
function errorsOf(server: WebsocketServer): WebsocketError[] {
  const errors: WebsocketError[] = []
  listen(server, 'error', (error) => void errors.push(error))
  return errors
}

/** Two servers with one backplane. */
function nodes(options: ServerOptions = {}): [WebsocketServer, WebsocketServer] {
  const backplane = memoryBackplane()
  return [new WebsocketServer({ ...options, backplane }), new WebsocketServer({ backplane })]
}

/** A backplane like the one in memory, save for some of it. */
const backplaneWith = (parts: Partial<Backplane>): Backplane => ({ ...memoryBackplane(), ...parts })

const boom = (): never => {
  throw new Error('boom')
}
const booming = (): Promise<never> => Promise.reject(new Error('boom'))

test('the same name is the same room', async () => {
  const server = new WebsocketServer()
  const [there] = await enter(server)
  server.room('lobby').add(there)
  assert.equal(server.room('lobby').name, 'lobby')
  assert.ok(server.room('lobby').has(there))
  assert.equal(server.room('lobby').size, 1)
  assert.equal(server.room('Lobby').size, 0)
})

test('a name is a string, and any string is a name', async () => {
  const server = new WebsocketServer()
  const [there, here] = await enter(server)
  const heard = heardBy(here)
  const names = ['__proto__', 'constructor', 'clients', 'room:clients', '', 'a\0b', 'größe']
  for (const name of names) {
    const room = server.room(name)
    assert.equal(room.size, 0)
    room.add(there).emit(`to ${name}`)
    assert.deepEqual([...server.room(name)], [there])
    assert.ok(room.delete(there))
  }
  await turn()
  assert.deepEqual(
    heard,
    names.map((name) => `to ${name}`),
  )
  for (const slip of [undefined, null, 5, Symbol('lobby'), {}]) {
    assert.throws(() => server.room(slip as string), /^TypeError: expected the name of a room/)
  }
})

test('a room is a set: size, has and iteration are about its members', async () => {
  const server = new WebsocketServer()
  const room = server.room('lobby')
  const [one] = await enter(server)
  const [two] = await enter(server)
  assert.deepEqual([room.size, room.has(one), [...room]], [0, false, []])
  assert.equal(room.add(one).add(two).add(one), room)
  assert.deepEqual([room.size, room.has(one), [...room]], [2, true, [one, two]])
  assert.equal(room.delete(one), true)
  assert.equal(room.delete(one), false)
  assert.deepEqual([room.size, room.has(one), [...room]], [1, false, [two]])
  assert.equal(server.room('other').delete(two), false)
})

test('the clients of a server are a room that only the server fills', async () => {
  const server = new WebsocketServer()
  const [one, here] = await enter(server)
  const [two] = await enter(server)
  const { clients } = server
  assert.deepEqual([clients.size, clients.has(one), [...clients]], [2, true, [one, two]])
  assert.deepEqual(['add' in clients, 'delete' in clients], [false, false])
  assert.deepEqual([...clients], [one, two])
  await server.close()
  assert.deepEqual([here.isOpen, clients.size], [false, 0])
})

test('members may be let out while they are gone through', async () => {
  const server = new WebsocketServer()
  const room = server.room('lobby')
  for (let count = 0; count < 3; count++) room.add((await enter(server))[0])
  for (const member of room) room.delete(member)
  assert.equal(room.size, 0)
})

test('join and leave tell of every member once', async () => {
  const server = new WebsocketServer()
  const room = server.room('lobby')
  const story: [string, WebsocketConnection][] = []
  listen(room, 'join', (member) => void story.push(['join', member]))
  listen(server.room('lobby'), 'leave', (member) => void story.push(['leave', member]))
  const [one] = await enter(server)
  const [two] = await enter(server)
  room.add(one).add(one).add(two)
  room.delete(one)
  room.delete(one)
  room.add(one)
  assert.deepEqual(story, [
    ['join', one],
    ['join', two],
    ['leave', one],
    ['join', one],
  ])
})

test('a member is in when join tells of it, and out when leave does', async () => {
  const server = new WebsocketServer()
  const room = server.room('lobby')
  const states: boolean[] = []
  for (const event of ['join', 'leave'] as const) {
    listen(room, event, (member) => void states.push(room.has(member)))
  }
  const [there] = await enter(server)
  room.add(there).delete(there)
  assert.deepEqual(states, [true, false])
})

test('a join listener may send the member out again', async () => {
  const server = new WebsocketServer()
  const room = server.room('lobby')
  const left = once(room, 'leave')
  listen(room, 'join', (member) => room.delete(member))
  const [there] = await enter(server)
  room.add(there)
  assert.equal(room.size, 0)
  assert.equal(await left, there)
})

test('a leave listener that goes may let another client in', async () => {
  const server = new WebsocketServer()
  const room = server.room('lobby')
  const [one] = await enter(server)
  const [two] = await enter(server)
  room.add(one)
  listen(room, 'leave', () => room.add(two), { once: true })
  room.delete(one)
  assert.deepEqual([...room], [two])
})

test('a client that has closed, or is closing, stays out', async () => {
  const server = new WebsocketServer()
  const room = server.room('lobby')
  listen(room, 'join', () => assert.fail('it stays out'))
  const [closing] = await enter(server)
  const done = closing.close()
  room.add(closing)
  await done
  room.add(closing)
  const [lost] = await enter(server)
  cut(lost)
  await once(lost, 'close')
  room.add(lost)
  assert.equal(room.size, 0)
})

test('emit reaches every member, as text or as bytes', async () => {
  const server = new WebsocketServer()
  const room = server.room('lobby')
  const [one, hereOne] = await enter(server)
  const [two, hereTwo] = await enter(server)
  const [, stranger] = await enter(server)
  const heard = [heardBy(hereOne), heardBy(hereTwo)]
  const silence = heardBy(stranger)
  room.add(one).add(two)
  room.emit('text')
  room.emit(Uint8Array.of(1, 2))
  room.emit(0.5)
  await turn()
  for (const messages of heard) assert.deepEqual(messages, ['text', Uint8Array.of(1, 2), '0.5'])
  assert.deepEqual(silence, [])
})

test('emit leaves out an excepted member, and one that is not valid', async () => {
  const server = new WebsocketServer()
  const room = server.room('lobby')
  const ends = [await enter(server), await enter(server), await enter(server)] as const
  const [[one], [two], [stranger]] = ends
  const heard = ends.map(([, here]) => heardBy(here))
  room.add(one).add(two)
  room.emit('but one', { except: one })
  room.emit('but a stranger', { except: stranger })
  room.emit('but nobody', { except: undefined })
  two.valid = false
  room.emit('valid')
  two.valid = true
  room.emit('valid again')
  await turn()
  assert.deepEqual(heard, [
    ['but a stranger', 'but nobody', 'valid', 'valid again'],
    ['but one', 'but a stranger', 'but nobody', 'valid again'],
    [],
  ])
})

test('a room that sends only what may be sent throws for the rest, and for unknown options', async () => {
  const server = new WebsocketServer()
  const [there, here] = await enter(server)
  const heard = heardBy(here)
  const room = server.room('lobby').add(there)
  for (const slip of [undefined, null, NaN, {}, true]) {
    assert.throws(() => room.emit(slip as string), /^TypeError: expected what is sent to be/)
  }
  // @ts-expect-error: a slip
  assert.throws(() => room.emit('x', { expect: there }), /`expect`: did you mean `except`\?/)
  await turn()
  assert.deepEqual(heard, [])
})

test('emit to an empty room reaches no client and does no harm', () => {
  const server = new WebsocketServer()
  server.room('nobody').emit('hello?')
  server.room('nobody').close()
  server.emit('hello?')
})

test('a server with binary sends text to its rooms as bytes', async () => {
  const server = new WebsocketServer({ binary: true })
  const [there, here] = await enter(server)
  const heard = heardBy(here)
  server.room('lobby').add(there).emit('hi')
  await turn()
  assert.deepEqual(heard, [Uint8Array.from(Buffer.from('hi'))])
})

test('a connection that closes leaves all of its rooms, before its close event', async () => {
  const server = new WebsocketServer()
  const [there, here] = await enter(server)
  const rooms = ['one', 'two', 'three'].map((name) => server.room(name).add(there))
  const [stays] = await enter(server)
  rooms[0]?.add(stays)
  const story: string[] = []
  for (const room of [...rooms, server.clients]) {
    listen(room, 'leave', (member) => {
      assert.equal(member, there)
      assert.equal(member.isOpen, false)
      story.push(room.name)
      if (room instanceof Room) room.add(member) // it is too late for that
    })
  }
  listen(there, 'close', () => {
    story.push('close')
    assert.deepEqual(
      rooms.map((room) => room.has(there)),
      [false, false, false],
    )
  })
  await here.close()
  await once(there, 'close')
  assert.deepEqual(story.sort(), ['clients', 'close', 'one', 'three', 'two'])
  assert.deepEqual([...(rooms[0] ?? [])], [stays])
  assert.deepEqual([...server.clients], [stays])
})

test('a leave comes before the close event, also when the connection was cut', async () => {
  const server = new WebsocketServer()
  const [there] = await enter(server)
  const story: string[] = []
  listen(server.room('lobby').add(there), 'leave', () => void story.push('leave'))
  listen(there, 'close', ({ code }) => void story.push(`close ${code}`))
  cut(there)
  await once(there, 'close')
  assert.deepEqual(story, ['leave', 'close 1006'])
})

test('a room that was left by hand is not left again at the close', async () => {
  const server = new WebsocketServer()
  const room = server.room('lobby')
  const [there] = await enter(server)
  let leaves = 0
  listen(room, 'leave', () => (leaves += 1))
  room.add(there).delete(there)
  await there.close()
  await once(there, 'close')
  assert.equal(leaves, 1)
})

test('close closes the connection of every member, and of no other client', async () => {
  const server = new WebsocketServer()
  const room = server.room('lobby')
  const [one, hereOne] = await enter(server)
  const [two, hereTwo] = await enter(server)
  const [stranger] = await enter(server)
  room.add(one).add(two)
  room.close(4001, 'be gone')
  for (const here of [hereOne, hereTwo]) {
    assert.deepEqual(await once(here, 'close'), { code: 4001, description: 'be gone' })
  }
  assert.equal(room.size, 0)
  assert.ok(stranger.isOpen)
})

test('close says 1000 unless you say otherwise, with the standard text of the code', async () => {
  const server = new WebsocketServer()
  const [one, hereOne] = await enter(server)
  server.room('lobby').add(one).close()
  assert.deepEqual(await once(hereOne, 'close'), {
    code: 1000,
    description: 'Normal connection closure',
  })
  const [two, hereTwo] = await enter(server)
  server.room('lobby').add(two).close(1008)
  assert.deepEqual(await once(hereTwo, 'close'), { code: 1008, description: 'Policy violation' })
})

test('a close text that begins with a code is text: the code stays', async () => {
  const server = new WebsocketServer()
  const [one, hereOne] = await enter(server)
  server.room('lobby').add(one).close(4000, '[1008][1005]so long')
  assert.deepEqual(await once(hereOne, 'close'), { code: 4000, description: '[1008][1005]so long' })
  const [two, hereTwo] = await enter(server)
  server.room('lobby').add(two).close(1000, '[1006]')
  assert.deepEqual(await once(hereTwo, 'close'), { code: 1000, description: '[1006]' })
})

test('a close code that may not be sent throws and changes nothing', async () => {
  const server = new WebsocketServer()
  const [there] = await enter(server)
  const room = server.room('lobby').add(there)
  for (const code of [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 1000.5, NaN]) {
    assert.throws(() => room.close(code), RangeError)
  }
  assert.throws(() => room.close(1000, 5 as unknown as string), TypeError)
  assert.ok(there.isOpen)
  assert.ok(room.has(there))
})

test('server.clients is the room of all, and closing it closes every connection', async () => {
  const server = new WebsocketServer()
  const joined = once(server.clients, 'join')
  const [one, hereOne] = await enter(server)
  const [two, hereTwo] = await enter(server)
  assert.equal(await joined, one)
  assert.equal(server.clients.name, 'clients')
  assert.deepEqual([...server.clients], [one, two])
  server.clients.close(4000)
  assert.equal((await once(hereOne, 'close')).code, 4000)
  assert.equal((await once(hereTwo, 'close')).code, 4000)
  assert.equal(server.clients.size, 0)
})

test('a listener of an empty room stays while it fills, empties and fills again', async () => {
  const server = new WebsocketServer()
  const joined: WebsocketConnection[] = []
  const unlisten = listen(server.room('lobby'), 'join', (member) => void joined.push(member))
  const [there] = await enter(server)
  server.room('lobby').add(there).delete(there)
  server.room('lobby').add(there)
  assert.deepEqual(joined, [there, there])
  unlisten()
  server.room('lobby').delete(there)
  server.room('lobby').add(there)
  assert.equal(joined.length, 2)
})

test('stopping to listen to a room takes none of its members away', async () => {
  const server = new WebsocketServer()
  const room = server.room('lobby')
  const [there, here] = await enter(server)
  const unlisten = listen(room, 'join', () => {})
  room.add(there)
  unlisten()
  assert.deepEqual([...room], [there])
  room.emit('still here')
  assert.equal(await once(here, 'message'), 'still here')
})

test('a loop that is returned from once more, long after, takes no members away', async () => {
  const server = new WebsocketServer()
  const room = server.room('lobby')
  const loop = listen(room, 'join')
  await loop.return?.()
  const [there] = await enter(server)
  room.add(there)
  await loop.return?.()
  assert.deepEqual([...room], [there])
})

test('a loop over a room that the server has ended takes no members away when it is left', async () => {
  const server = new WebsocketServer()
  const room = server.room('lobby')
  await enter(server)
  const loop = listen(room, 'join')
  await server.close()
  const [there] = await enter(server)
  room.add(there)
  await loop.return?.()
  assert.deepEqual([...room], [there])
})

test('loops and waits on rooms end when the server closes, and callbacks stay', async () => {
  const server = new WebsocketServer()
  const room = server.room('lobby')
  let joins = 0
  listen(room, 'join', () => (joins += 1))
  const [there] = await enter(server)
  const loops = [listen(room, 'join'), listen(server.room('other'), 'leave')] as const
  const waits = [once(room, 'join'), once(server.clients, 'join'), once(room, 'leave')]
  room.add(there)
  await server.close()
  assert.deepEqual(await loops[0].next(), { done: false, value: there })
  for (const loop of loops) {
    assert.deepEqual(await loop.next(), { done: true, value: undefined })
  }
  assert.equal(await waits[0], there)
  await assert.rejects(waits[1] ?? Promise.resolve(), ClosedError)
  assert.equal(await waits[2], there) // the close made it leave
  const [again] = await enter(server)
  room.add(again)
  assert.equal(joins, 2)
})

for (const event of ['join', 'leave'] as const) {
  test(`a \`${event}\` listener of a room that fails unheard is printed, and that member's connection closes`, async () => {
    const server = new WebsocketServer()
    const room = server.room('lobby')
    listen(room, event, boom)
    const [there, here] = await enter(server)
    const [other] = await enter(server)
    const printed = await printedBy(async () => {
      room.add(there)
      room.delete(there)
      assert.equal((await once(here, 'close')).code, 1011)
    })
    assert.equal(printed.length, 1)
    assert.ok(other.isOpen)
  })
}

test('a failing listener of a room is an error of its server', async () => {
  const server = new WebsocketServer()
  const errors = errorsOf(server)
  const room = server.room('lobby')
  const joined: WebsocketConnection[] = []
  listen(room, 'join', boom)
  listen(room, 'join', (member) => void joined.push(member))
  const [there] = await enter(server)
  room.add(there)
  assert.deepEqual(joined, [there])
  assert.equal(errors.length, 1)
  assert.ok(errors[0] instanceof CallbackError)
  assert.equal(errors[0].event, 'join')
  assert.ok(room.has(there))
})

for (const way of ['emit', 'room', 'broadcast'] as const) {
  test(`${way} reaches the other node exactly once, and no member twice here`, async () => {
    const [one, other] = nodes()
    const [speaker, hereSpeaker] = await enter(one)
    const [local, hereLocal] = await enter(one)
    const [remote, hereRemote] = await enter(other)
    for (const member of [speaker, local]) one.room('lobby').add(member)
    other.room('lobby').add(remote)
    const [own, near, far] = [heardBy(hereSpeaker), heardBy(hereLocal), heardBy(hereRemote)]
    const say = {
      emit: (data: Data) => one.emit(data),
      room: (data: Data) => one.room('lobby').emit(data),
      broadcast: (data: Data) => speaker.broadcast(data),
    }[way]
    const sent = ['text', Uint8Array.of(0, 255), '', new Uint8Array(), '\uFEFFa mark', 'grüße']
    for (const data of sent) say(data)
    await turn()
    assert.deepEqual(near, sent)
    assert.deepEqual(far, sent)
    assert.deepEqual(own, way === 'broadcast' ? [] : sent)
    assert.equal(one.stats().dropped + other.stats().dropped, 0)
  })
}

test('a room travels by its name alone: others, and the room of all, hear nothing', async () => {
  const [one, other] = nodes()
  const [there, here] = await enter(other)
  other.room('lobby').add(there)
  const heard = heardBy(here)
  one.room('Lobby').emit('other name')
  one.room('clients').emit('a room that is called clients')
  one.room('__proto__').emit('no room at all')
  await turn()
  assert.deepEqual(heard, [])
  other.room('clients').add(there)
  one.room('clients').emit('now')
  await turn()
  assert.deepEqual(heard, ['now'])
})

test('local members are served in the same turn, the others later', async () => {
  const [one, other] = nodes()
  const [there] = await enter(one)
  await enter(other)
  one.emit('x')
  assert.deepEqual([one.stats().sent, other.stats().sent], [1, 0])
  assert.ok(there.bufferedAmount > 0)
  await turn()
  assert.deepEqual([one.stats().sent, other.stats().sent], [1, 1])
})

test('except is about this node, valid about every node', async () => {
  const [one, other] = nodes()
  const [there, hereOne] = await enter(one)
  const [remote, hereOther] = await enter(other)
  const [near, far] = [heardBy(hereOne), heardBy(hereOther)]
  one.clients.emit('one', { except: there })
  one.clients.emit('two', { except: remote })
  await turn()
  remote.valid = false
  one.clients.emit('three')
  await turn()
  assert.deepEqual(near, ['two', 'three'])
  assert.deepEqual(far, ['one', 'two'])
})

test('size, iteration and the events of a room are about this node', async () => {
  const [one, other] = nodes()
  const [there] = await enter(one)
  listen(other.room('lobby'), 'join', () => assert.fail('it is a member elsewhere'))
  one.room('lobby').add(there)
  await turn()
  assert.equal(one.room('lobby').size, 1)
  assert.equal(other.room('lobby').size, 0)
  assert.equal(other.clients.size, 0)
})

test('text from a node with binary arrives as bytes, and text for one goes to it as bytes', async () => {
  const [binary, plain] = nodes({ binary: true })
  const [, hereBinary] = await enter(binary)
  const [, herePlain] = await enter(plain)
  const [fromPlain, fromBinary] = [heardBy(hereBinary), heardBy(herePlain)]
  binary.emit('from binary')
  await turn()
  plain.emit('from plain')
  plain.emit(Uint8Array.of(7))
  await turn()
  const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text))
  assert.deepEqual(fromBinary, [bytes('from binary'), 'from plain', Uint8Array.of(7)])
  assert.deepEqual(fromPlain, [bytes('from binary'), bytes('from plain'), Uint8Array.of(7)])
})

test('close disconnects members on every node', async () => {
  const [one, other] = nodes()
  const [local, hereLocal] = await enter(one)
  const [remote, hereRemote] = await enter(other)
  const [stranger] = await enter(other)
  one.room('user:7').add(local)
  other.room('user:7').add(remote)
  one.room('user:7').close(4003, 'größer als gedacht')
  for (const here of [hereLocal, hereRemote]) {
    const reason = { code: 4003, description: 'größer als gedacht' }
    assert.deepEqual(await once(here, 'close'), reason)
  }
  assert.ok(stranger.isOpen)
})

test('close reaches other nodes from a room empty here, with the standard text', async () => {
  const [one, other] = nodes()
  const [remote, here] = await enter(other)
  other.room('user:7').add(remote)
  one.room('user:7').close(1008)
  assert.deepEqual(await once(here, 'close'), { code: 1008, description: 'Policy violation' })
})

test('a close text that begins with a code is text on every node', async () => {
  const [one, other] = nodes()
  const [remote, here] = await enter(other)
  other.room('user:7').add(remote)
  one.room('user:7').close(4000, '[1008][4001]so long')
  assert.deepEqual(await once(here, 'close'), {
    code: 4000,
    description: '[1008][4001]so long',
  })
})

test('a node without members in a room hears nothing of it until it has one again', async () => {
  let subscribed: string[] = []
  const memory = memoryBackplane()
  const backplane = backplaneWith({
    ...memory,
    async subscribe(topic, receive) {
      subscribed.push(topic)
      const stop = await memory.subscribe(topic, receive)
      return () => {
        subscribed = subscribed.filter((other) => other !== topic)
        return stop()
      }
    },
  })
  const server = new WebsocketServer({ backplane })
  listen(server.room('lobby'), 'join', () => {})
  assert.deepEqual(subscribed, [])
  const [there] = await enter(server)
  const room = server.room('lobby').add(there)
  assert.deepEqual(subscribed, ['clients', 'room:lobby'])
  room.delete(there)
  await turn()
  assert.deepEqual(subscribed, ['clients'])
  room.add(there)
  assert.deepEqual(subscribed, ['clients', 'room:lobby'])
  await server.close()
  await turn()
  assert.deepEqual(subscribed, [])
})

const [TEXT, CLOSE] = [0, 2]
const NUMBER = [0, 0, 0, 0, 0, 1]
const SENDER = [...new Array<number>(16).fill(7), ...NUMBER]
const ANOTHER = [...new Array<number>(16).fill(8), ...NUMBER]
const CODE_1000 = [0x03, 0xe8]

for (const [what, message] of [
  ['is empty', []],
  ['has but a kind', [TEXT]],
  ['ends in the middle of its sender', [TEXT, ...SENDER.slice(8)]],
  ['ends in the middle of its number', [TEXT, ...SENDER.slice(1)]],
  ['has number 0', [TEXT, ...SENDER.slice(0, 21), 0, 0x68]],
  ['is text that is not UTF-8', [TEXT, ...SENDER, 0xff, 0xfe]],
  ['has no sender but a payload shorter than one', [CLOSE, ...CODE_1000]],
  ['is of the kind after the last', [CLOSE + 1, ...SENDER, ...CODE_1000]],
  ['is of kind 255', [255, ...SENDER, 1, 2, 3]],
  ['closes without a code', [CLOSE, ...SENDER]],
  ['closes with half a code', [CLOSE, ...SENDER, 0x0f]],
  ['closes with code 0', [CLOSE, ...SENDER, 0, 0]],
  ['closes with 1006, which may not be sent', [CLOSE, ...SENDER, 0x03, 0xee]],
  ['closes with 65535', [CLOSE, ...SENDER, 255, 255]],
] as [string, number[]][]) {
  test(`a message on the backplane that ${what} is dropped and counted`, async () => {
    const backplane = memoryBackplane()
    const server = new WebsocketServer({ backplane })
    listen(server, 'error', () => assert.fail('it is counted, no more'))
    const [there, here] = await enter(server)
    const heard = heardBy(here)
    await backplane.publish('clients', Uint8Array.from(message))
    await turn()
    assert.equal(server.stats().dropped, 1)
    assert.deepEqual(heard, [])
    assert.ok(there.isOpen)
    await backplane.publish('clients', Uint8Array.of(TEXT, ...ANOTHER, 0x68, 0x69))
    await turn()
    assert.deepEqual(heard, ['hi'])
    assert.equal(server.stats().dropped, 1)
  })
}

for (const [text, description] of [
  ['[1006]', '[1006]'],
  ['[4001]x', '[4001]x'],
  ['', 'Normal connection closure'],
  ['x'.repeat(200), 'x'.repeat(123)],
] as const) {
  test(`a close text "${text.slice(0, 10)}" on the backplane can't forge a code`, async () => {
    const backplane = memoryBackplane()
    const server = new WebsocketServer({ backplane })
    const [, here] = await enter(server)
    const message = [CLOSE, ...SENDER, ...CODE_1000, ...Buffer.from(text)]
    await backplane.publish('clients', Uint8Array.from(message))
    await turn()
    assert.equal(here.isOpen, false)
    assert.deepEqual(await once(here, 'close'), { code: 1000, description })
  })
}

for (const [manner, fail] of [
  ['throws', boom],
  ['rejects', booming],
] as [string, () => never][]) {
  test(`a backplane whose publish ${manner} is one error event until it works, and local delivery goes on`, async () => {
    const server = new WebsocketServer({ backplane: backplaneWith({ publish: fail }) })
    const errors = errorsOf(server)
    const [, here] = await enter(server)
    const [there] = await enter(server)
    const heard = heardBy(here)
    server.emit('one')
    there.broadcast('two')
    await turn()
    assert.deepEqual(heard, ['one', 'two'])
    assert.equal(errors.length, 1)
    assert.equal(errors[0]?.message, 'the backplane failed')
    assert.equal((errors[0].cause as Error).message, 'boom')
    server.clients.close(4000)
    assert.equal((await once(here, 'close')).code, 4000)
  })

  test(`a backplane whose subscribe ${manner} is one error event, and local delivery goes on`, async () => {
    const server = new WebsocketServer({ backplane: backplaneWith({ subscribe: fail }) })
    const errors = errorsOf(server)
    const [there, here] = await enter(server)
    const heard = heardBy(here)
    await turn()
    assert.equal(errors.length, 1)
    server.emit('one')
    await turn()
    assert.deepEqual(heard, ['one'])
    await there.close()
    await turn()
    assert.equal(errors.length, 1, 'there was nothing to stop')
    assert.equal(server.clients.size, 0)
    await enter(server)
    await turn()
    assert.equal(errors.length, 2, 'it was tried again')
  })

  test(`a backplane whose unsubscribe ${manner} is one error event, and all leave`, async () => {
    for (const later of [false, true]) {
      const subscribe = (): Unsubscribe | Promise<Unsubscribe> =>
        later ? Promise.resolve(fail) : fail
      const server = new WebsocketServer({ backplane: backplaneWith({ subscribe }) })
      const errors = errorsOf(server)
      const [there] = await enter(server)
      const left = once(server.clients, 'leave')
      await there.close()
      assert.equal(await left, there)
      await turn()
      assert.deepEqual(
        errors.map(({ cause }) => (cause as Error).message),
        ['boom'],
      )
    }
  })

  test(`a backplane that ${manner} prints nothing without a listener`, async () => {
    const print = mock.method(console, 'error', () => {})
    try {
      const backplane = { publish: fail, subscribe: fail, close: fail }
      const server = new WebsocketServer({ backplane })
      const [there] = await enter(server)
      server.emit('x')
      await there.close()
      await server.close()
      await turn()
      assert.equal(print.mock.callCount(), 0)
    } finally {
      print.mock.restore()
    }
  })
}

test('a client let in while the backplane fails is in with the one it failed for', async () => {
  const server = new WebsocketServer({
    backplane: backplaneWith({ subscribe: (topic) => (topic === 'clients' ? () => {} : boom()) }),
  })
  const room = server.room('lobby')
  const [one] = await enter(server)
  const [two] = await enter(server)
  listen(server, 'error', () => room.add(two))
  room.add(one)
  await turn()
  assert.deepEqual([...room], [one, two])
  assert.ok(room.delete(one))
})

/** A backplane that subscribes when it is told to. */
function slowBackplane(): { backplane: Backplane; active: Set<unknown>; go: () => Promise<void> } {
  const memory = memoryBackplane()
  const active = new Set<unknown>()
  const pending: (() => void)[] = []
  const backplane = backplaneWith({
    ...memory,
    async subscribe(topic, receive) {
      if (topic === 'clients') return () => {}
      await new Promise<void>((resolve) => void pending.push(resolve))
      const stop = await memory.subscribe(topic, receive)
      active.add(receive)
      return () => {
        active.delete(receive)
        return stop()
      }
    },
  })
  const go = (): Promise<void> => {
    for (const resolve of pending.splice(0)) resolve()
    return turn()
  }
  return { backplane, active, go }
}

test('a subscription that takes its time delivers once it stands', async () => {
  const { backplane, go } = slowBackplane()
  const [one, other] = [new WebsocketServer({ backplane }), new WebsocketServer({ backplane })]
  const [there, here] = await enter(one)
  const heard = heardBy(here)
  one.room('lobby').add(there)
  other.room('lobby').emit('too early')
  await go()
  other.room('lobby').emit('in time')
  await turn()
  assert.deepEqual(heard, ['in time'])
})

test('a room that was left before its subscription stood is unsubscribed when it does', async () => {
  const { backplane, active, go } = slowBackplane()
  const server = new WebsocketServer({ backplane })
  const [there] = await enter(server)
  server.room('lobby').add(there).delete(there)
  await go()
  assert.equal(active.size, 0)
})

for (const listened of [false, true]) {
  const how = listened ? 'listened to' : 'not listened to'
  test(`leaving and coming back before a subscription stands makes no doubles (${how})`, async () => {
    const { backplane, active, go } = slowBackplane()
    const [one, other] = [new WebsocketServer({ backplane }), new WebsocketServer({ backplane })]
    const [there, here] = await enter(one)
    const heard = heardBy(here)
    const room = one.room('lobby')
    if (listened) listen(room, 'leave', () => {})
    for (let times = 0; times < 3; times++) room.add(there).delete(there)
    room.add(there)
    await go()
    assert.equal(active.size, 1)
    other.room('lobby').emit('once')
    await turn()
    assert.deepEqual(heard, ['once'])
    room.delete(there)
    await turn()
    assert.equal(active.size, 0)
  })
}

test('what still comes from a subscription that was stopped goes nowhere', async () => {
  let receive: ((message: Uint8Array) => void) | undefined
  const subscribe: Backplane['subscribe'] = (_, given) => {
    receive ??= given
    return () => {}
  }
  const server = new WebsocketServer({ backplane: backplaneWith({ subscribe }) })
  const [first] = await enter(server)
  await first.close()
  const [, here] = await enter(server)
  const heard = heardBy(here)
  receive?.(Uint8Array.of(TEXT, ...SENDER, 0x68, 0x69))
  receive?.(Uint8Array.of(255))
  await turn()
  assert.deepEqual(heard, [])
  assert.equal(server.stats().dropped, 0)
})

test('the network behind a backplane is heard of through its server', () => {
  let tell = (_state: 'up' | 'down'): void => {}
  const backplane = backplaneWith({ listen: (state) => void (tell = state) })
  const server = new WebsocketServer({ backplane })
  const states: string[] = []
  tell('down') // there is no listener yet
  listen(server, 'backplane', ({ state }) => void states.push(state))
  tell('up')
  tell('down')
  assert.deepEqual(states, ['up', 'down'])
})

test('a room refuses a connection that is no client of its server: nothing would remove it', () => {
  const [stranger] = pair()
  assert.throws(
    () => new WebsocketServer().room('lobby').add(stranger),
    /^TypeError: expected the member of a room to be a client of its own server/,
  )
})
