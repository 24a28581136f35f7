// The page of the chat, whichever client it speaks with: phoenix.js at /, our own at /ours.
const isOurs = location.pathname === '/ours'
const client = await import(isOurs ? './with-ours.js' : './with-phoenix.js')

const $ = (id) => document.getElementById(id)
let room

$('about').textContent = client.about
$('with').textContent = isOurs ? 'simplewebsockets' : 'phoenix.js'

$('join').addEventListener('submit', (event) => {
  event.preventDefault()
  const name = $('name').value.trim()
  const title = $('room').value.trim()
  let isHere = false
  room?.leave()
  room = client.enter(title, name, {
    entered() {
      const isBack = !$('chat').hidden
      $('title').textContent = title
      $('refused').textContent = ''
      $('door').hidden = true
      $('chat').hidden = false
      showState('connected', 'Connected')
      note(isBack ? 'You are back' : `Welcome to ${title}`)
      $('words').focus()
    },
    // The client would try again by itself. After a refusal the page asks for another name instead.
    refused(reason) {
      if (!$('chat').hidden) return note(reason)
      room.leave()
      $('refused').textContent = reason
      $('name').focus()
    },
    here(names) {
      isHere = true
      $('people').textContent = names.join(', ')
    },
    cameIn: (key) => isHere && key !== name && note(`${key} came in`),
    wentOut: (key) => key !== name && note(`${key} went`),
    heard: ({ name: who, body }) => show(who, body),
    lost: () => showState('lost', 'Offline'),
  })
})

$('say').addEventListener('submit', (event) => {
  event.preventDefault()
  const body = $('words').value.trim()
  if (!body) return
  const bubble = show('You', body, true)
  bubble.style.opacity = '0.6'
  room.say(body).then(
    ({ at }) => {
      bubble.style.opacity = ''
      bubble.title = new Date(at).toLocaleString()
    },
    () => note('The last message may not have arrived.'),
  )
  $('words').value = ''
})

$('words').addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
  event.preventDefault()
  $('say').requestSubmit()
})

$('leave').addEventListener('click', () => {
  room.leave()
  room = undefined
  $('log').replaceChildren()
  $('chat').hidden = true
  $('door').hidden = false
  $('name').focus()
})

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
