const [, , mode = 'echo'] = process.argv

/** Whether a message goes to everybody, or back to who sent it. */
export const fansOut = mode !== 'echo'

/** Whether it goes to a room of them. */
export const hasRooms = mode === 'channels'

/** Whether messages are compressed. */
export const compresses = mode === 'fanout-deflate'
