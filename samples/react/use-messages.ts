// A React hook: the latest messages of a server, and a function that sends.
import { useCallback, useEffect, useRef, useState } from 'react'
import { listen, WebsocketClient, type Data } from 'simplewebsockets'

const MAX_MESSAGES = 100

export interface Messages {
  readonly messages: readonly Data[]
  readonly isOpen: boolean
  readonly send: (data: Data) => boolean
}

export function useMessages(url: string): Messages {
  const [messages, setMessages] = useState<readonly Data[]>([])
  const [isOpen, setOpen] = useState(false)
  const current = useRef<WebsocketClient>(undefined)
  useEffect(() => {
    const client = (current.current = new WebsocketClient({ reconnect: true }))
    let isCurrent = true
    listen(client, 'connect', (connection) => {
      setOpen(true)
      listen(connection, 'message', (message) => {
        if (isCurrent) setMessages((all) => [...all, message].slice(-MAX_MESSAGES))
      })
      listen(connection, 'close', () => {
        if (isCurrent) setOpen(false)
      })
    })
    listen(client, 'connectError', () => {}) // the client tries again
    void client.open(url)
    return () => {
      isCurrent = false
      setMessages([])
      setOpen(false)
      void client.close()
    }
  }, [url])
  const send = useCallback((data: Data) => current.current?.connection?.send(data) ?? false, [])
  return { messages, isOpen, send }
}
