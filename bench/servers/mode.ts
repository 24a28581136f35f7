const [, , mode = 'echo', certFile, keyFile] = process.argv

/** Whether a message goes to all clients, or back to its sender. */
export const fansOut = !mode.startsWith('echo')

/** Whether an echo is awaited, and how. */
export const awaits = mode === 'echo-async' ? 'listener' : mode === 'echo-loop' ? 'loop' : undefined

/** The files of a certificate and its key, where it is to speak TLS. */
export const tlsFiles =
  certFile === undefined || keyFile === undefined ? undefined : { cert: certFile, key: keyFile }

/** Whether it goes to a room of them. */
export const hasRooms = mode === 'channels'

/** Whether messages are compressed. */
export const compresses = mode === 'fanout-deflate' || mode === 'echo-deflate'
