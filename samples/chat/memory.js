// What is remembered: this tab's first, for two tabs may be two people.

export function recall(key) {
  try {
    return sessionStorage.getItem(key) ?? localStorage.getItem(key)
  } catch {
    return null // storage may be forbidden
  }
}

export function remember(key, value) {
  try {
    sessionStorage.setItem(key, value)
    localStorage.setItem(key, value)
  } catch {
    // Then nothing is.
  }
}

export function rememberInside(is) {
  try {
    sessionStorage.setItem('chat.inside', is ? 'yes' : 'no')
  } catch {
    // Then a reload shows the door.
  }
}

export function wasInside() {
  try {
    return sessionStorage.getItem('chat.inside') === 'yes'
  } catch {
    return false
  }
}

export function recentRooms() {
  try {
    const rooms = JSON.parse(recall('chat.rooms') ?? '[]')
    return Array.isArray(rooms) ? rooms.filter((each) => typeof each === 'string') : []
  } catch {
    return []
  }
}
