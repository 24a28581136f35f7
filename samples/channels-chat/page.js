// The page of the chat. All that it knows of the server is what phoenix.js, unmodified, brings.
import { Socket } from './phoenix.mjs'

const $ = (id) => document.getElementById(id)
const socket = new Socket('/socket')
let channel

socket.onOpen(() => showState('connected', 'Connected'))
socket.onError(() => showState('lost', 'Offline'))
socket.onClose(() => showState('lost', 'Offline'))

$('join').addEventListener('submit', (event) => {
  event.preventDefault()
  const room = $('room').value.trim()
  channel?.leave()
  channel = socket.channel(`room:${room}`, { name: $('name').value.trim() })
  channel.on('new_msg', ({ name, body }) => show(name, body))
  channel.on('entered', ({ name }) => note(`${name} came in`))
  channel.onError(() => showState('lost', 'Offline'))
  channel
    .join()
    .receive('ok', () => enter(room))
    .receive('error', ({ reason }) => refuse(reason))
    .receive('timeout', () => refuse('The server does not answer.'))
  socket.connect()
})

$('say').addEventListener('submit', (event) => {
  event.preventDefault()
  const body = $('words').value.trim()
  if (!body) return
  const bubble = show('You', body, true)
  bubble.style.opacity = '0.6'
  channel
    .push('new_msg', { body })
    .receive('ok', ({ at }) => {
      bubble.style.opacity = ''
      bubble.title = new Date(at).toLocaleString()
    })
    .receive('timeout', () => note('The last message may not have arrived.'))
  $('words').value = ''
})

$('words').addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
  event.preventDefault()
  $('say').requestSubmit()
})

$('leave').addEventListener('click', () => {
  channel.leave()
  channel = undefined
  $('log').replaceChildren()
  $('chat').hidden = true
  $('door').hidden = false
  $('name').focus()
})

function enter(room) {
  const isBack = !$('chat').hidden
  $('title').textContent = room
  $('refused').textContent = ''
  $('door').hidden = true
  $('chat').hidden = false
  showState('connected', 'Connected')
  note(isBack ? 'You are back' : `Welcome to ${room}`)
  $('words').focus()
}

// phoenix.js would try again by itself: whoever is refused is asked again here.
function refuse(reason) {
  if (!$('chat').hidden) return note(reason)
  channel.leave()
  $('refused').textContent = reason
  $('name').focus()
}

function showState(state, text) {
  $('state').dataset.state = state
  $('state-text').textContent = text
}

// Words of others only ever become text nodes, never markup.
function show(name, body, own = false) {
  const bubble = make('p', 'bubble', body)
  const who = make('span', own ? 'who unseen' : 'who', name)
  who.style.setProperty('--hue', hue(name))
  add(
    make(
      'section',
      own ? 'said own' : 'said',
      make('div', 'bubbles', make('p', 'byline', who), bubble),
    ),
  )
  return bubble
}

function note(text) {
  add(make('p', 'note', text))
}

function add(element) {
  $('log').append(element)
  $('scroll').scrollTop = $('scroll').scrollHeight
}

function make(tag, className, ...children) {
  const element = document.createElement(tag)
  element.className = className
  element.append(...children)
  return element
}

function hue(name) {
  return [...name].reduce((sum, char) => (sum * 31 + char.codePointAt(0)) % 360, 7)
}
