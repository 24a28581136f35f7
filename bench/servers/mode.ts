const [, , mode = 'echo'] = process.argv

/** Whether a message goes to everybody, or back to who sent it. */
export const fansOut = mode !== 'echo'

/** Whether messages are compressed. */
export const compresses = mode === 'fanout-deflate'
