import assert from 'node:assert/strict'
import { BINARY, CONTINUATION, inBothRoles, PING, TEXT, type Meeting } from './meeting.ts'

// RFC 6455 §8.1, text is UTF-8, RFC 3629.

const bytes = (hex: string): Buffer => Buffer.from(hex.replaceAll(' ', ''), 'hex')

const VALID: readonly (readonly [what: string, hex: string])[] = [
  ['the first character of one byte', '00'],
  ['the first character of two bytes', 'c280'],
  ['the first character of three bytes', 'e0a080'],
  ['the first character of four bytes', 'f0908080'],
  ['the last character of one byte', '7f'],
  ['the last character of two bytes', 'dfbf'],
  ['the last character of three bytes', 'efbfbf'],
  ['the last character that there is', 'f48fbfbf'],
  ['the last before the surrogates', 'ed9fbf'],
  ['the first behind the surrogates', 'ee8080'],
  ['the replacement character', 'efbfbd'],
  ['the non-character U+FFFE', 'efbfbe'],
  ['the non-characters U+FDD0 and U+FDEF', 'efb790 efb7af'],
  ...Array.from({ length: 16 }, (_, plane): [string, string] => {
    const last = [0xfffe, 0xffff].map((low) => String.fromCodePoint((plane + 1) * 0x10000 + low))
    return [`the non-characters of plane ${plane + 1}`, Buffer.from(last.join('')).toString('hex')]
  }),
  ['a byte order mark in front', 'efbbbf 61'],
  ['a byte order mark inside', '61 efbbbf 62'],
  ['Greek', 'cebae1bdb9cf83cebcceb5'],
  ['many scripts', Buffer.from('Hello-µ@ßöäüàá-UTF-8!! 日本語 עברית 😀👩‍👩‍👧').toString('hex')],
  ['a null in the middle', '610062'],
]

const INVALID: readonly (readonly [what: string, hex: string])[] = [
  ['a continuation byte alone', '80'],
  ['the last continuation byte alone', 'bf'],
  ['two continuation bytes', '80bf'],
  ['six continuation bytes', '80bf80bf80bf'],
  ...Array.from({ length: 0x20 }, (_, low): [string, string] => {
    const hex = (0xc0 + low).toString(16)
    return [`${hex} without what should follow`, `${hex}20`]
  }),
  ...Array.from({ length: 0x10 }, (_, low): [string, string] => {
    const hex = (0xe0 + low).toString(16)
    return [`${hex} without what should follow`, `${hex}2020`]
  }),
  ...['f0', 'f1', 'f4', 'f5', 'f7', 'f8', 'fb', 'fc', 'fd', 'fe', 'ff'].map(
    (hex): [string, string] => [`${hex} without what should follow`, `${hex}202020`],
  ),
  ['the end inside two bytes', 'c3'],
  ['the end inside three bytes', 'e282'],
  ['the end inside four bytes', 'f09f98'],
  ['one byte too few in the middle', 'e28261'],
  ['two too few in the middle', 'f09f6162'],
  ['all unfinished ones in a row', 'c0 e080 f08080 f8808080 fc80808080 df efbf f7bfbf'],
  ['an overlong slash of two bytes', 'c0af'],
  ['an overlong slash of three bytes', 'e080af'],
  ['an overlong slash of four bytes', 'f08080af'],
  ['an overlong slash of five bytes', 'f8808080af'],
  ['an overlong slash of six bytes', 'fc80808080af'],
  ['the last overlong of two bytes', 'c1bf'],
  ['the last overlong of three bytes', 'e09fbf'],
  ['the last overlong of four bytes', 'f08fbfbf'],
  ['an overlong null', 'c080'],
  ['the first surrogate', 'eda080'],
  ['the last high surrogate', 'edafbf'],
  ['the first low surrogate', 'edb080'],
  ['the last surrogate', 'edbfbf'],
  ['a pair of surrogates', 'eda080 edb080'],
  ['the first behind the last character', 'f4908080'],
  ['a character of five bytes', 'f888808080'],
  ['a character of six bytes', 'fc8480808080'],
]

/** Sends a text in fragments, each of these parts one. */
function sendParts(meeting: Meeting, parts: readonly Buffer[]): void {
  const last = parts.length - 1
  const frames = parts.map((part, index) =>
    meeting.frame(index === 0 ? TEXT : CONTINUATION, part, { fin: index === last }),
  )
  meeting.write(...frames)
}

for (const [what, hex] of VALID) {
  inBothRoles(`§8.1 ${what} is text`, async (meeting) => {
    const payload = bytes(hex)
    const text = payload.toString()
    assert.ok(Buffer.from(text).equals(payload))
    meeting.send(TEXT, payload)
    for (let cut = 0; cut <= payload.length; cut++) {
      sendParts(meeting, [payload.subarray(0, cut), payload.subarray(cut)])
    }
    sendParts(
      meeting,
      Array.from(payload, (byte) => Buffer.of(byte)),
    )
    meeting.send(TEXT, `${'x'.repeat(1_000)}${text}${'x'.repeat(1_000)}`)
    const texts = Array<string>(payload.length + 3).fill(text)
    await meeting.hears(...texts, `${'x'.repeat(1_000)}${text}${'x'.repeat(1_000)}`)
  })

  inBothRoles(`§8.1 ${what} leaves as it is`, async ({ us, peer }) => {
    us.send(bytes(hex).toString())
    const { opcode, payload } = (await peer.frame()) ?? {}
    assert.deepEqual([opcode, payload], [TEXT, bytes(hex)])
  })
}

for (const [what, hex] of INVALID) {
  inBothRoles(`§8.1 ${what} gets 1007`, async (meeting) => {
    meeting.send(TEXT, 'before')
    meeting.send(TEXT, bytes(hex))
    meeting.send(TEXT, 'behind')
    await meeting.fails(1007)
    assert.deepEqual(meeting.heard, ['before'])
  })

  inBothRoles(`§8.1 ${what} in fragments of a byte gets 1007`, async (meeting) => {
    sendParts(meeting, [...Array.from(bytes(hex), (byte) => Buffer.of(byte)), Buffer.alloc(0)])
    await meeting.fails(1007)
    assert.deepEqual(meeting.heard, [])
  })

  inBothRoles(`§8.1 ${what} in the middle of a long text gets 1007`, async (meeting) => {
    const around = Buffer.alloc(1_000, 'ä')
    meeting.send(TEXT, Buffer.concat([around, bytes(hex), around]))
    await meeting.fails(1007)
    assert.deepEqual(meeting.heard, [])
  })
}

inBothRoles('§5.6 bytes need not be UTF-8', async (meeting) => {
  const all = INVALID.map(([, hex]) => bytes(hex))
  for (const payload of all) meeting.send(BINARY, payload)
  await meeting.hears(...all)
})

inBothRoles('§5.5.2 the payload of a ping need not be UTF-8', async (meeting) => {
  const all = INVALID.map(([, hex]) => bytes(hex))
  for (const payload of all) {
    meeting.send(PING, payload)
    assert.deepEqual((await meeting.peer.frame())?.payload, payload)
  }
  await meeting.hears()
})

inBothRoles('§8.1 a character split by a ping between fragments is text', async (meeting) => {
  const [one, two] = [bytes('f09f'), bytes('9880')]
  meeting.send(TEXT, one, { fin: false })
  meeting.send(PING, 'between')
  meeting.send(CONTINUATION, two)
  assert.equal((await meeting.peer.frame())?.payload.toString(), 'between')
  await meeting.hears('😀')
})

inBothRoles('§8.1 half a character is forgotten with its message', async (meeting) => {
  meeting.send(BINARY, bytes('f09f'))
  meeting.send(TEXT, 'a')
  await meeting.hears(bytes('f09f'), 'a')
})

inBothRoles('§8.1 half a pair of surrogates leaves as a replacement character', async (meeting) => {
  meeting.us.send('a\ud800b')
  assert.equal((await meeting.peer.frame())?.payload.toString('hex'), '61efbfbd62')
})

// Bytes that can't become UTF-8 any more are refused at once: nothing later could mend them.

for (const [what, first, next] of [
  ['a byte that is never there', '6162 ff', '63'],
  ['a surrogate', 'eda080', '63'],
  ['an overlong character', 'c0af', '63'],
  ['a character behind the last', 'f490', '8080'],
  ['a character that is broken off', 'e28261', '63'],
] as const) {
  inBothRoles(`§8.1 ${what} in a first fragment gets 1007 at once`, async (meeting) => {
    meeting.send(TEXT, bytes(first), { fin: false })
    await meeting.failsAtOnce(1007)
    assert.deepEqual(meeting.heard, [])
  })

  inBothRoles(`§8.1 ${what} in a middle fragment gets 1007 at once`, async (meeting) => {
    meeting.send(TEXT, 'fine', { fin: false })
    meeting.send(CONTINUATION, bytes(first), { fin: false })
    await meeting.failsAtOnce(1007)
  })

  inBothRoles(`§8.1 ${what} split over fragments gets 1007 at once`, async (meeting) => {
    const whole = bytes(first + next)
    for (const [index, byte] of whole.entries()) {
      meeting.send(index === 0 ? TEXT : CONTINUATION, Buffer.of(byte), { fin: false })
    }
    await meeting.failsAtOnce(1007)
  })
}

inBothRoles('§8.1 what may still become UTF-8 is waited for', async (meeting) => {
  for (const [index, byte] of bytes('f09f9880').entries()) {
    meeting.send(index === 0 ? TEXT : CONTINUATION, Buffer.of(byte), { fin: false })
    await meeting.hears()
  }
  meeting.send(CONTINUATION)
  await meeting.hears('😀')
})
