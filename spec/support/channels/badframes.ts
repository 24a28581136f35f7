/** Returns a frame of Phoenix's on a topic. */
export const named = (topic: unknown, event: unknown = 'echo'): string =>
  JSON.stringify(['1', '2', topic, event, {}])
const long = 'x'.repeat(1_000_000)
/** Returns bytes, given one by one or as text. */
export const binary = (...parts: (number | string)[]): Uint8Array =>
  Buffer.concat(
    parts.map((part) => (typeof part === 'number' ? Buffer.of(part) : Buffer.from(part))),
  )

/** The frames that a client of Phoenix's must not send, and the code that closes its connection. */
export const closing: [what: string, frame: string | Uint8Array, code: number][] = [
  ['what is not JSON', 'nope', 1007],
  ['nothing at all', '', 1007],
  ['a scalar', '5', 1008],
  ['null', 'null', 1008],
  ['an object', '{"topic":"own","event":"echo","payload":{},"ref":"2"}', 1008],
  ['an array of 4', '["1","2","own","echo"]', 1008],
  ['an array of 10^6', `[${'0,'.repeat(999_999)}0]`, 1009],
  ['an array of 400,000 numbers', `[${'0,'.repeat(399_999)}0]`, 1008],
  [
    'nesting 10^5 deep',
    `["1","2","own","echo",${'['.repeat(100_000)}${']'.repeat(100_000)}]`,
    1008,
  ],
  ['a topic of null', named(null), 1008],
  ['a topic of a number', named(5), 1008],
  ['a topic with a toString', named({ toString: 'own' }), 1008],
  ['a topic of 1 MB', named(long), 1008],
  ['an event of null', named('own', null), 1008],
  ['an event of a number', named('own', 5), 1008],
  ['an event with a toString', named('own', { toString: 'echo' }), 1008],
  ['an event of 1 MB', named('own', long), 1008],
  ['a reply of a client', named('own', 'phx_reply'), 1008],
  ['an error of a client', named('own', 'phx_error'), 1008],
  ['a close of a client', named('own', 'phx_close'), 1008],
  ['a ref that is a number', '["1",2,"own","echo",{}]', 1008],
  ['a ref of 1 MB', JSON.stringify(['1', long, 'own', 'echo', {}]), 1008],
  ['a join_ref that is a number', '[1,"2","own","echo",{}]', 1008],
  ['bytes without lengths', binary(0), 1008],
  ['bytes whose lengths point past the end', binary(0, 1, 1, 200, 4, '12own'), 1008],
  ['bytes of an unknown kind', binary(9, 1, 1, 3, 4, '12ownecho'), 1008],
  ['bytes of a kind for servers', binary(2, 3, 4, 'ownecho'), 1008],
  [
    'bytes with a topic that is not UTF-8',
    binary(0, 1, 1, 3, 4, '12', 255, 254, 253, 'echo'),
    1007,
  ],
  ['no bytes at all', binary(), 1008],
]
