import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { WebSocket, type PerMessageDeflateOptions } from 'ws'
import { escapeText } from '../../format.ts'
import { ConnectError } from '../../errors.ts'
import type { ClientSettings } from '../../options/client.ts'
import type { DialRequest, Dial, Transport } from '../transport.ts'
import { WebSocketTransport } from '../websocket.ts'
import { deflateOptions, isValidAnswer, MAX_WINDOW_BITS, readAnswer } from './deflate/extensions.ts'
import { TcpTransport } from './tcp-transport.ts'

const MAX_BODY = 4 * 1024 // bytes kept of the body of a response other than 101
// The errors of `ws` for a 101 that doesn't fit the request have no code.
const INVALID_ANSWER = /Sec-WebSocket-|subprotocol|Upgrade header/
const BODY_TIMEOUT = 1_000 // milliseconds

/** Dials with `ws`, which makes the opening handshake, and throws for a request it can't dial. */
export const dial: Dial = (request, { onOpen: opened, onError: failed }) => {
  const socket = open(request)
  let adopt = (): Transport => new WebSocketTransport(socket, request.settings)
  let isSettled = false
  // A second HTTP response may come in the same packet, and `ws` would take it for the response to
  // the handshake.
  let isRejected = false
  const giveUp = (): void => {
    isSettled = true
    socket.terminate()
  }
  const fail = (error: ConnectError): void => {
    if (isSettled) return
    giveUp()
    failed(error)
  }
  socket
    .on('error', (cause) => {
      const code = INVALID_ANSWER.test(cause.message) ? 'ERR_INVALID_HANDSHAKE' : undefined
      fail(new ConnectError(cause, { code }))
    })
    .on('unexpected-response', (_, response) => {
      isRejected = true
      readRejection(response, fail)
    })
    .on('upgrade', ({ headers, socket: tcp }) => {
      if (isRejected) return
      if (isValidAnswer(headers)) {
        adopt = makeAdopter(tcp, socket, headers, request.settings)
        return
      }
      const header = headers['sec-websocket-extensions']
      const text = `the server answered with Sec-WebSocket-Extensions that make no sense: ${header}`
      fail(new ConnectError(escapeText(text), { code: 'ERR_INVALID_HANDSHAKE' }))
    })
    .on('open', () => {
      if (isRejected) return
      isSettled = true
      socket.removeAllListeners()
      opened(adopt())
    })
  return giveUp
}

function open({ url, protocols, headers, settings }: DialRequest): WebSocket {
  const { agent, tls, compression } = settings
  return new WebSocket(url, [...protocols], {
    ...tls,
    perMessageDeflate: compression !== false && makeOffer(settings),
    headers: { ...headers },
    ...(agent && { agent }),
  })
}

/** Returns the permessage-deflate options that `ws` offers to the server. */
function makeOffer(settings: ClientSettings): PerMessageDeflateOptions {
  const { serverMaxWindowBits, clientMaxWindowBits, ...flags } = deflateOptions(settings)
  return {
    ...flags,
    ...(serverMaxWindowBits < MAX_WINDOW_BITS && { serverMaxWindowBits }),
    ...(clientMaxWindowBits < MAX_WINDOW_BITS && { clientMaxWindowBits }),
  }
}

/** Makes the function that takes the TCP socket over once `ws` has checked the handshake. */
function makeAdopter(
  tcp: Socket | undefined,
  socket: WebSocket,
  headers: IncomingHttpHeaders,
  settings: ClientSettings,
): () => Transport {
  // Some runtimes, for example Bun, hide the TCP socket.
  if (!tcp) return () => new WebSocketTransport(socket, settings)
  const listenersBefore = ['data', 'end', 'close', 'error'].map(
    (event) => [event, new Set(tcp.listeners(event))] as const,
  )
  return () => {
    for (const [event, earlier] of listenersBefore) {
      for (const listener of tcp.listeners(event)) {
        if (!earlier.has(listener)) tcp.off(event, listener as () => void)
      }
    }
    const { protocol } = socket
    return new TcpTransport(tcp, {
      side: 'client',
      protocol,
      settings,
      deflate: readAnswer(headers, settings),
    })
  }
}

/** Reads a response other than 101: its status, headers, and the start of its body. */
function readRejection(response: IncomingMessage, fail: (error: ConnectError) => void): void {
  const { statusCode: status = 0, statusMessage = '' } = response
  let body = Buffer.alloc(0)
  const finish = (): void => {
    clearTimeout(timer)
    fail(
      new ConnectError(escapeText(`the server answered ${status} ${statusMessage}`.trimEnd()), {
        code: 'ERR_HANDSHAKE_REFUSED',
        status,
        headers: flattenHeaders(response.headers),
        body: body.subarray(0, MAX_BODY).toString(),
      }),
    )
    response.destroy()
  }
  const timer = setTimeout(finish, BODY_TIMEOUT)
  response
    .on('data', (chunk: Buffer) => {
      body = Buffer.concat([body, chunk])
      if (body.length >= MAX_BODY) finish()
    })
    .on('error', finish)
    .on('close', finish)
}

function flattenHeaders(headers: IncomingHttpHeaders): Record<string, string> {
  const pairs = Object.entries(headers).map(([name, value]) => [name, String(value)] as const)
  return Object.assign(Object.create(null), Object.fromEntries(pairs)) as Record<string, string>
}
