// What is seen of a conversation. Words of others only ever become text nodes, never markup.

const TOGETHER = 5 * 60_000 // messages of one person within this time stand together
const MOST_ENTRIES = 400 // the oldest go first
const NEAR_THE_END = 80 // pixels

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' })
const letters = new Intl.Segmenter(undefined, { granularity: 'grapheme' })

/** Makes an element of a class, with children that are elements or text. */
export function make(tag, className, ...children) {
  const element = document.createElement(tag)
  if (className) element.className = className
  element.append(...children)
  return element
}

/** Gives an avatar the letters and the colour of a name: the same name always looks the same. */
export function paint(avatar, name) {
  avatar.textContent = initials(name)
  colour(avatar, name)
  return avatar
}

function initials(name) {
  const words = name.split(/[\s._-]+/u).filter(Boolean)
  const picked = words.length > 1 ? [words[0], words.at(-1)] : words
  return picked
    .map((word) => [...letters.segment(word)][0].segment)
    .join('')
    .toUpperCase()
}

function colour(element, name) {
  let hash = 2_166_136_261 // FNV-1a
  for (const char of name) hash = Math.imul(hash ^ char.codePointAt(0), 16_777_619)
  hash ^= hash >>> 15
  element.style.setProperty('--hue', String(((hash >>> 0) % 24) * 15))
  return element
}

/** Shows a conversation in `log`, and keeps `scroll` at its end while its reader is there. */
export function openLog({ log, scroll, newer, empty }) {
  let group
  let talk

  const atTheEnd = () => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR_THE_END
  const toTheEnd = () => {
    scroll.scrollTop = scroll.scrollHeight
    newer.hidden = true
  }

  scroll.addEventListener('scroll', () => {
    if (atTheEnd()) newer.hidden = true
  })
  newer.addEventListener('click', toTheEnd)
  // The end stays in sight when a keyboard opens, too.
  let sticks = true
  scroll.addEventListener('scroll', () => (sticks = atTheEnd()))
  new ResizeObserver(() => sticks && toTheEnd()).observe(scroll)

  function add(parent, element, wanted) {
    const follows = wanted || atTheEnd()
    parent.append(element)
    while (log.childElementCount > MOST_ENTRIES) log.firstElementChild.remove()
    if (follows) toTheEnd()
    else newer.hidden = false
  }

  function say({ name, text, time, own }) {
    empty.hidden = true
    const at = new Date(time)
    const bubble = make('p', 'bubble', text)
    bubble.title = at.toLocaleString()
    const continues =
      talk && talk.name === name && talk.own === own && at.getTime() - talk.at < TOGETHER
    if (continues) {
      talk.at = at.getTime()
      bubble.prepend(make('span', 'unseen', `${own ? 'You' : name}: `))
      add(group, bubble, own)
      return
    }
    const when = make('time', 'when', clock.format(at))
    when.dateTime = time
    const who = colour(make('span', own ? 'who unseen' : 'who', own ? 'You' : name), name)
    group = make('div', 'bubbles', make('p', 'byline', who, when), bubble)
    talk = { name, own, at: at.getTime() }
    const face = paint(make('span', 'avatar'), name)
    face.setAttribute('aria-hidden', 'true')
    const parts = own ? [group] : [face, group]
    add(log, make('section', own ? 'said own' : 'said', ...parts), own)
  }

  /** A quiet line about the room. */
  function note(...children) {
    talk = undefined
    add(log, make('p', 'note', ...children), false)
  }

  function clear() {
    talk = undefined
    log.replaceChildren()
    empty.hidden = false
    newer.hidden = true
  }

  return { say, note, clear }
}
