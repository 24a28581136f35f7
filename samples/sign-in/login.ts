// The login of the sample: a cookie for the browser, and a token for each connection.
import { randomUUID } from 'node:crypto'
import express, { type Request } from 'express'

// Two stores that all nodes share.
const sessions = new Map<string, string>() // the user of each session
const tokens = new Map<string, string>() // the user of each token

export const login = express.Router()
login.post('/login', (_, response) => {
  const session = randomUUID()
  sessions.set(session, 'ann') // check the password first
  response.cookie('session', session, { httpOnly: true, sameSite: 'lax' }).end() // https: `secure`
})
login.post('/token', (request, response) => {
  const user = userOf(request)
  if (user === undefined) return void response.sendStatus(401)
  const token = randomUUID()
  tokens.set(token, user)
  setTimeout(() => tokens.delete(token), 10_000)
  response.send(token)
})

export function userOf({ headers }: Request): string | undefined {
  const [, session = ''] = /\bsession=([\w-]+)/.exec(headers.cookie ?? '') ?? []
  return sessions.get(session)
}

/** Returns the user of a token. A token works once. */
export function redeem(token = ''): string | undefined {
  const user = tokens.get(token)
  tokens.delete(token)
  return user
}

/** Ends the sessions and tokens of a user. */
export function endSessions(user: string): void {
  for (const store of [sessions, tokens]) {
    for (const [key, owner] of store) if (owner === user) store.delete(key)
  }
}
