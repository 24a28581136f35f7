import { openLine } from './line.js'
import { make, openLog, paint } from './log.js'
import { recall, recentRooms, remember, rememberInside, wasInside } from './memory.js'
import { othersTyping, ownTyping } from './typing.js'

const LONGEST_NAME = 32
const LONGEST_MESSAGE = 1_000
const MOST_ROOMS = 8
const TOAST_TIME = 8_000

const $ = (id) => document.getElementById(id)
const size = (text) => [...text].length
const narrow = matchMedia('(max-width: 859px)')

const log = openLog({ log: $('log'), scroll: $('scroll'), newer: $('newer'), empty: $('empty') })

const typing = othersTyping((names) => {
  $('dots').hidden = names.length === 0
  $('typing-text').textContent = typingText(names)
})
const mine = ownTyping((message) => room !== undefined && line?.send(message))

let inside = false
let line
let state = 'closed'
let name = ''
let room // the one that the server has let us into
let unread = 0
const awaited = [] // what we said and haven't heard back yet, in order

// The room stands in the address, so a link leads into it and the back button out of it.

const hashOf = (roomId) => `#${encodeURIComponent(roomId)}`

function linkedRoom() {
  const hash = location.hash.slice(1)
  try {
    return decodeURIComponent(hash).trim()
  } catch {
    return hash
  }
}

addEventListener('hashchange', () => {
  const linked = linkedRoom()
  if (state === 'closed') $('room').value = linked
  else if (linked && linked !== room) enterRoom(linked)
})

// The door.

function complain(id, text, field) {
  $(id).textContent = text
  $(id).hidden = text === ''
  field?.setAttribute('aria-invalid', String(text !== ''))
  if (text) field?.focus()
}

function goInside(is) {
  inside = is
  rememberInside(is)
}

function showDoor() {
  goInside(false)
  document.title = 'Chat'
  $('chat').hidden = true
  $('door').hidden = false
  $('name').value = name || (recall('chat.name') ?? '')
  $('room').value = linkedRoom() || room || 'lobby'
  paintFace()
  knocking(false)
  ;($('name').value ? $('enter') : $('name')).focus()
}

function paintFace() {
  paint($('face'), $('name').value.trim() || '?')
}

function knocking(is) {
  $('enter').disabled = is
  $('enter').textContent = is ? 'Joining…' : 'Join the room'
}

$('name').addEventListener('input', paintFace)

$('join').addEventListener('submit', (event) => {
  event.preventDefault()
  const wanted = $('name').value.trim()
  const roomId = $('room').value.trim()
  for (const field of [$('name'), $('room')]) field.removeAttribute('aria-invalid')
  if (!wanted) return complain('join-error', 'What shall the others call you?', $('name'))
  if (size(wanted) > LONGEST_NAME) {
    return complain('join-error', `A name has at most ${LONGEST_NAME} characters.`, $('name'))
  }
  if (!roomId) return complain('join-error', 'Which room do you want to join?', $('room'))
  complain('join-error', '')
  name = wanted
  remember('chat.name', name)
  if (linkedRoom() !== roomId) history.replaceState(null, '', hashOf(roomId))
  knocking(true)
  call()
})

function showChat() {
  goInside(true)
  if (!$('chat').hidden) return
  $('door').hidden = true
  $('chat').hidden = false
  paint($('me-face'), name)
  $('me-name').textContent = name
  closeSide()
}

$('leave').addEventListener('click', () => {
  line?.close()
  line = undefined
  state = 'closed'
  awaited.length = 0
  closeSide()
  showDoor()
  room = undefined
})

// The line.

function call() {
  const url = new URL('chat', document.baseURI)
  url.protocol = url.protocol.replace('http', 'ws')
  url.search = new URLSearchParams({ token: name })
  url.hash = ''
  line = openLine(url, { changed, received })
}

let countdown

function changed(now, retryAt) {
  state = now
  clearInterval(countdown)
  $('state').dataset.state = now
  $('state-text').textContent = {
    connecting: 'Connecting',
    connected: 'Connected',
    lost: 'Offline',
  }[now]
  $('banner').hidden = now === 'connected' || (now === 'connecting' && $('banner').hidden)
  $('retry').disabled = now === 'connecting'
  weighWords()
  if (now === 'connected') {
    enterRoom(linkedRoom() || room || 'lobby')
  } else if (now === 'connecting') {
    $('banner-text').textContent = 'Trying to reach the chat…'
  } else {
    awaited.length = 0
    typing.clear()
    if (!inside) return notReached()
    countDown(retryAt)
    if (retryAt !== undefined) countdown = setInterval(() => countDown(retryAt), 1_000)
  }
}

function notReached() {
  line.close()
  line = undefined
  state = 'closed'
  knocking(false)
  complain('join-error', 'The chat could not be reached. Is its server running?')
}

function countDown(retryAt) {
  if (retryAt === undefined) {
    $('banner-text').textContent = 'The chat let go of it.'
    return
  }
  const seconds = Math.ceil((retryAt - Date.now()) / 1_000)
  $('banner-text').textContent =
    seconds > 0 ? `Trying again in ${seconds} s.` : 'Trying to reach the chat…'
}

$('retry').addEventListener('click', () => line?.retry())

function received(message) {
  const { type, message: text, user_id: who, timestamp, count } = message
  if (type === 'joined') joined(message.room_id, text)
  else if (type === 'chat_message') heard(who, text, timestamp)
  else if (type === 'user_typing') typing.add(who)
  else if (type === 'user_stopped_typing') typing.remove(who)
  else if (type === 'user_joined' || type === 'user_left') {
    showCount(count)
    log.note(text)
  } else if (type === 'error') refused(text)
}

// Rooms.

function enterRoom(roomId) {
  mine.stop()
  line.send({ type: 'join', room_id: roomId })
}

function joined(roomId, welcome) {
  const back = roomId === room
  if (!back) {
    log.clear()
    typing.clear()
    awaited.length = 0
  }
  room = roomId
  showChat()
  if (linkedRoom() !== roomId) history.replaceState(null, '', hashOf(roomId))
  remember(
    'chat.rooms',
    JSON.stringify(
      [roomId, ...recentRooms().filter((other) => other !== roomId)].slice(0, MOST_ROOMS),
    ),
  )
  $('title').textContent = roomId
  $('words').placeholder = `Message #${roomId}`
  showRooms()
  showTitle()
  log.note(back ? 'You are back' : welcome)
  askCount(roomId)
  weighWords()
  if (!narrow.matches || !back) $('words').focus()
}

function showRooms() {
  const links = recentRooms()
    .sort((one, other) => one.localeCompare(other))
    .map((each) => {
      const link = make(
        'a',
        'room-link',
        make('span', 'hash', '#'),
        make('span', 'room-name', each),
      )
      link.href = hashOf(each)
      if (each === room) link.setAttribute('aria-current', 'page')
      link.addEventListener('click', closeSide)
      return make('li', '', link)
    })
  $('rooms').replaceChildren(...links)
}

$('move').addEventListener('submit', (event) => {
  event.preventDefault()
  const wanted = $('other-room').value.trim()
  if (!wanted) return complain('move-error', 'A room needs a name.', $('other-room'))
  complain('move-error', '')
  $('other-room').removeAttribute('aria-invalid')
  $('other-room').value = ''
  closeSide()
  if (wanted === room) $('words').focus()
  else location.hash = hashOf(wanted)
})

let countKnown = 0 // grows with every count, so that a late answer doesn't replace a newer one

async function askCount(roomId) {
  const known = ++countKnown
  $('count').textContent = ''
  try {
    const response = await fetch(`count?${new URLSearchParams({ room: roomId })}`)
    const { count } = await response.json()
    if (known === countKnown) showCount(count)
  } catch {
    // The next one who comes or goes tells.
  }
}

function showCount(count) {
  countKnown++
  $('count').textContent = count === 1 ? 'Only you are here' : `${count} people are here`
}

$('share').addEventListener('click', async () => {
  try {
    await navigator.clipboard.writeText(location.href)
    toast('The link to this room is copied.')
  } catch {
    toast('Copy the link from the address bar: this page is not allowed to.')
  }
})

// The list of rooms is a drawer where there is no space for it.

function closeSide() {
  const wasOpen = $('chat').classList.contains('with-side')
  $('chat').classList.remove('with-side')
  $('side-open').setAttribute('aria-expanded', 'false')
  $('scrim').hidden = true
  $('main').inert = false
  if (wasOpen) $('side-open').focus()
}

$('side-open').addEventListener('click', () => {
  $('chat').classList.add('with-side')
  $('side-open').setAttribute('aria-expanded', 'true')
  $('scrim').hidden = false
  $('main').inert = true
  $('side-close').focus()
})
$('side-close').addEventListener('click', closeSide)
$('scrim').addEventListener('click', closeSide)
narrow.addEventListener('change', closeSide)
addEventListener('keydown', ({ key }) => {
  if (key === 'Escape') closeSide()
})

// Talking.

function heard(who, text, timestamp) {
  // Another tab may have our name: ours is what we wait for.
  const own = who === name && awaited[0] === text
  if (own) awaited.shift()
  else typing.remove(who)
  log.say({ name: who, text, time: timestamp, own })
  if (document.hidden && !own) {
    unread++
    showTitle()
  }
}

function refused(text) {
  if (text.startsWith('room_id')) {
    return complain($('chat').hidden ? 'join-error' : 'move-error', text)
  }
  if (!text.startsWith('Message') && !text.startsWith('Not in a room')) return toast(text, true)
  const words = text === 'Not in a room' ? '' : awaited.shift()
  complain('said-error-text', text)
  $('said-error').hidden = false
  if (words && !$('words').value) setWords(words)
}

$('said-error-close').addEventListener('click', () => {
  $('said-error').hidden = true
  $('words').focus()
})

function setWords(text) {
  $('words').value = text
  fitWords()
  weighWords()
}

function fitWords() {
  const words = $('words')
  words.style.height = 'auto'
  words.style.height = `${words.scrollHeight}px`
}

function weighWords() {
  const left = LONGEST_MESSAGE - size($('words').value)
  $('left').textContent = left <= 100 ? String(left) : ''
  $('left').classList.toggle('over', left < 0)
  $('send').disabled = state !== 'connected' || left < 0 || !$('words').value.trim()
}

$('words').addEventListener('input', () => {
  fitWords()
  weighWords()
  $('said-error').hidden = true
  if ($('words').value.trim()) mine.keep()
  else mine.stop()
})

$('words').addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
  event.preventDefault()
  $('say').requestSubmit()
})

$('say').addEventListener('submit', (event) => {
  event.preventDefault()
  const text = $('words').value.trim()
  if ($('send').disabled || !line?.send({ type: 'chat_message', message: text })) return
  awaited.push(text)
  mine.stop()
  setWords('')
  $('words').focus()
})

function typingText(names) {
  if (names.length === 0) return ''
  if (names.length > 2) return 'Several people are typing'
  return `${names.join(' and ')} ${names.length === 1 ? 'is' : 'are'} typing`
}

// What comes up from below, and goes again.

function toast(text, isError = false) {
  const close = make('button', 'text-button', 'Dismiss')
  const box = make('div', isError ? 'toast error' : 'toast', make('p', '', text), close)
  box.setAttribute('role', isError ? 'alert' : 'status')
  close.type = 'button'
  close.addEventListener('click', () => box.remove())
  setTimeout(() => box.remove(), TOAST_TIME)
  $('toasts').append(box)
  while ($('toasts').childElementCount > 3) $('toasts').firstElementChild.remove()
}

function showTitle() {
  document.title = `${unread > 0 ? `(${unread}) ` : ''}#${room} · Chat`
}

document.addEventListener('visibilitychange', () => {
  if (document.hidden || room === undefined) return
  unread = 0
  showTitle()
})

// A reload leads back to where we were.
name = recall('chat.name') ?? ''
if (wasInside() && name && linkedRoom()) {
  room = undefined
  $('title').textContent = linkedRoom()
  showChat()
  call()
} else {
  showDoor()
}
