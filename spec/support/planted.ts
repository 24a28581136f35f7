/** Secrets that must never be printed; each is given to spec/support/secrets.ts, and looked for. */
export const planted = {
  redisPassword: 'planted-redis-password',
  wrongPassword: 'planted-wrong-password',
  natsToken: 'planted-nats-token',
  body: 'planted-message-body',
  token: 'planted-token',
  cookie: 'planted-cookie',
  basicPassword: 'planted-basic-password',
} as const
