// A store of your own, in a file of SQLite, for one node; and the proof that it keeps the contract.
// Run with Node 24: node --conditions=source --import tsx --test samples/replay/sqlite.ts
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import type { HistoryEntry, HistoryPosition, HistoryStore } from 'simplewebsockets/channels'
import { historyContract } from 'simplewebsockets/testing'

/** Makes a store: its epoch is that of the file, and the last message of a topic stays in it. */
function sqliteHistory(file: string): HistoryStore {
  const db = new DatabaseSync(file)
  db.exec(`CREATE TABLE IF NOT EXISTS life AS SELECT hex(randomblob(8)) AS epoch;
    CREATE TABLE IF NOT EXISTS log (topic, offset INTEGER, time, data, PRIMARY KEY (topic, offset));
    CREATE TEMP VIEW ranked AS SELECT *, rank() OVER w AS rank, sum(length(data)) OVER w AS bytes
      FROM log WINDOW w AS (PARTITION BY topic ORDER BY offset DESC)`)
  const head = db.prepare(`SELECT epoch, ifnull(max(offset), 0) offset FROM life
    LEFT JOIN log ON topic = $topic`)
  const insert = db.prepare(`INSERT INTO log
    SELECT $topic, ifnull(max(offset), 0) + 1, $time, $data FROM log WHERE topic = $topic`)
  const kept = 'topic = $topic AND time > $old AND rank <= $size AND bytes <= $maxBytes'
  const trim = db.prepare(`DELETE FROM log WHERE topic = $topic AND offset NOT IN
    (SELECT offset FROM ranked WHERE rank = 1 AND topic = $topic OR ${kept})`)
  const select = db.prepare(`SELECT offset, data FROM ranked WHERE offset > $since AND ${kept}
    ORDER BY offset`)
  return {
    append(name, data, { size, ttl, maxBytes }) {
      const [topic, time] = [JSON.stringify(name), Date.now()] // which is valid Unicode
      insert.run({ topic, data, time })
      trim.run({ topic, size, maxBytes, old: time - ttl })
      return head.get({ topic }) as HistoryPosition
    },
    read(name, since, { size, ttl, maxBytes }) {
      const [topic, old] = [JSON.stringify(name), Date.now() - ttl]
      const { epoch, offset } = head.get({ topic }) as HistoryPosition
      const rows = select.all({ topic, since: since ?? offset, old, size, maxBytes })
      return { epoch, offset, entries: rows as HistoryEntry[] }
    },
  }
}
const contract = historyContract(() => sqliteHistory(':memory:'), { subscribes: false })
for (const { name, run } of contract) test(name, run)
