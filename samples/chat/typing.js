// Who is typing: we, as the others are told of it, and they.

const STILL_TYPING = 2_500 // after a key: no further one means that the typing has stopped,
const TYPING_AGAIN = 2_000 // and while it goes on the others are told again so often,
const TYPED_LAST = 5_000 // for who leaves amid a word can't say so

/** Tells of our typing: `send` returns whether it could be told. */
export function ownTyping(send) {
  let toldAt = 0
  let ending

  function keep() {
    clearTimeout(ending)
    ending = setTimeout(stop, STILL_TYPING)
    if (Date.now() - toldAt >= TYPING_AGAIN && send({ type: 'typing_start' })) toldAt = Date.now()
  }

  function stop() {
    clearTimeout(ending)
    if (toldAt === 0) return
    toldAt = 0
    send({ type: 'typing_stop' })
  }

  return { keep, stop }
}

/** Keeps who else is typing; `show` gets their names whenever they change. */
export function othersTyping(show) {
  const people = new Map()
  const changed = () => show([...people.keys()])

  function add(who) {
    clearTimeout(people.get(who))
    people.set(
      who,
      setTimeout(() => remove(who), TYPED_LAST),
    )
    changed()
  }

  function remove(who) {
    clearTimeout(people.get(who))
    if (people.delete(who)) changed()
  }

  function clear() {
    for (const who of [...people.keys()]) remove(who)
  }

  return { add, remove, clear }
}
