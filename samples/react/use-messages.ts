// A React hook: the messages of a server, and a way to say something.
import { useCallback, useEffect, useRef, useState } from 'react'
import { listen, WebsocketClient, type Data } from 'simplewebsockets'

/** What a component has of its connection. */
export interface Messages {
  readonly messages: readonly Data[]
  readonly isOpen: boolean
  /** false: not sent, for there is no connection, or wait a little. */
  readonly send: (data: Data) => boolean
}

/** Connects while the component is there, and again after a loss. */
export function useMessages(url: string): Messages {
  const [messages, setMessages] = useState<readonly Data[]>([])
  const [isOpen, setOpen] = useState(false)
  const current = useRef<WebsocketClient>(undefined)

  useEffect(() => {
    const client = new WebsocketClient({ reconnect: true })
    current.current = client
    listen(client, 'connect', (connection) => {
      setOpen(true)
      listen(connection, 'message', (message) => setMessages((all) => [...all, message]))
      listen(connection, 'close', () => setOpen(false))
    })
    listen(client, 'connectError', () => {}) // it tries again
    void client.open(url)
    return () => void client.close()
  }, [url])

  const send = useCallback((data: Data) => current.current?.connection?.send(data) ?? false, [])
  return { messages, isOpen, send }
}
