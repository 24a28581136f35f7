import { channelOf } from './engine.ts'
import { unexpected } from './errors.ts'
import { isFunction, isList, isObject, settle, type Rule } from './options/rules.ts'
import type { History, HistoryEntry, HistoryRecord } from './channels/history.ts'

/** Is what is used of a client of `redis`, which is node-redis: connected by you, or by a backplane. */
export interface NodeRedisCommander {
  /** Sends a command. */
  sendCommand(command: string[]): Promise<unknown>
}

/** Is what is used of a client of `ioredis`. */
export interface IoRedisCommander {
  /** Sends a command. */
  call(command: string, ...rest: string[]): Promise<unknown>
}

/** Is a client of Redis that takes any command: of `redis` or of `ioredis`. */
export type RedisCommander = NodeRedisCommander | IoRedisCommander

/** Is what a history over Redis lets you choose. */
export interface RedisHistoryOptions {
  /** What the names of its keys begin with. Default: `simplewebsockets.`. */
  prefix?: string | undefined
}

const DAY = 86_400_000 // milliseconds: senders are known for longer than their messages
const MOST_SENDERS = 256

// One command each, so that nobody sees half of it. The senders are a hash: the last number of each,
// and under `<` and its name the first one that was kept. Too many of them: all is forgotten.
const KEEP = `
local stream, senders = KEYS[1], KEYS[2]
local sender, n, data, size, age, day = unpack(ARGV)
if redis.call('HLEN', senders) >= ${2 * MOST_SENDERS} then redis.call('DEL', stream, senders) end
redis.call('HSETNX', senders, '<' .. sender, n)
redis.call('HSET', senders, '>' .. sender, n)
if data ~= '' then
  redis.call('XADD', stream, 'MAXLEN', '~', size, '*', 's', sender, 'n', n, 'd', data)
  redis.call('PEXPIRE', stream, age)
end
return redis.call('PEXPIRE', senders, age + day)`
const READ = `
local time = redis.call('TIME')
local oldest = math.max(0, time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[2])
local found = redis.call('XREVRANGE', KEYS[1], '+', string.format('%.0f', oldest), 'COUNT', ARGV[1])
return { redis.call('HGETALL', KEYS[2]), found }`

const rules = {
  prefix: {
    fallback: 'simplewebsockets.',
    wanted: 'a string of at most 128 characters',
    accepts: (value) => typeof value === 'string' && value.length <= 128,
  } as Rule<string>,
}

/**
 * Makes a history over Redis: a stream for each topic, which outlives your servers, and which all of
 * them see.
 *
 * @throws TypeError for what is no client, and for an option that is unknown or can't be.
 */
export function redisHistory(client: RedisCommander, options?: RedisHistoryOptions): History {
  const send = commander(client)
  const { prefix } = settle(rules, options)
  const run = (script: string, topic: string, ...rest: string[]): Promise<unknown> => {
    const name = `{${channelOf(`${prefix}history.`, topic)}}` // one place in a cluster for both keys
    return send(['EVAL', script, '2', `${name}:messages`, `${name}:senders`, ...rest])
  }
  return {
    keep(topic, { sender, n, data }, { size, age }) {
      const bounds = [size, Math.ceil(age), DAY].map(String)
      return run(KEEP, topic, sender, String(n), data, ...bounds)
    },
    async read(topic, { size, age }) {
      return recordIn(await run(READ, topic, String(size), String(Math.ceil(age))))
    },
  }
}

function commander(client: RedisCommander): (command: string[]) => Promise<unknown> {
  // First, as a client of `ioredis` has a `sendCommand` of another kind.
  if (has(client, 'call')) return ([command = '', ...rest]) => client.call(command, ...rest)
  if (has(client, 'sendCommand')) return (command) => client.sendCommand(command)
  throw unexpected('the client', 'one of `redis` or of `ioredis`', client)
}

function has<Name extends 'call' | 'sendCommand'>(
  client: RedisCommander,
  name: Name,
): client is Extract<RedisCommander, Readonly<Record<Name, unknown>>> {
  return isObject(client) && isFunction(Reflect.get(client, name))
}

/** Reads what Redis answers: names and values one after the other, and the latest message first. */
function recordIn(answer: unknown): HistoryRecord {
  const [names, messages] = isList(answer) ? answer : []
  const known = pairs(names)
  const senders = [...known]
    .filter(([name]) => name.startsWith('>'))
    .map(([name, head]) => {
      const sender = name.slice(1)
      return { sender, since: Number(known.get(`<${sender}`)), head: Number(head) }
    })
  const entries = isList(messages) ? messages.map((message) => entryIn(message)).reverse() : []
  return { entries, senders }
}

function entryIn(message: unknown): HistoryEntry {
  const fields = pairs(isList(message) ? message[1] : [])
  const [sender = '', data = ''] = [fields.get('s'), fields.get('d')]
  return { sender, n: Number(fields.get('n')), data }
}

function pairs(list: unknown): Map<string, string> {
  const texts = isList(list) ? list.map(String) : []
  const found = new Map<string, string>()
  for (let index = 0; index + 1 < texts.length; index += 2) {
    found.set(texts[index] ?? '', texts[index + 1] ?? '')
  }
  return found
}
