import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { WebSocket, type PerMessageDeflateOptions } from 'ws'
import { escaped } from '../../error-text.ts'
import { ConnectError } from '../../errors.ts'
import type { ClientSettings } from '../../options/client.ts'
import type { Call, Dial, Transport } from '../transport.ts'
import { WebSocketTransport } from '../websocket.ts'
import { deflateOptions, isSensibleAnswer, LARGEST_WINDOW, readAnswer } from './extensions.ts'
import { TcpTransport } from './tcp-transport.ts'

const MAX_BODY = 4 * 1024 // bytes kept of what a server says instead of 101
const BODY_TIMEOUT = 1_000

/** Dials with `ws`, which makes the opening handshake; it throws for what it can't dial. */
export const dial: Dial = (call, { opened, failed }) => {
  const socket = open(call)
  let adopt = (): Transport => new WebSocketTransport(socket, call.settings)
  let isDone = false
  // HTTP may bring a second answer in the same packet, which `ws` takes for the handshake's.
  let isRefused = false
  const giveUp = (): void => {
    isDone = true
    socket.terminate()
  }
  const fail = (error: ConnectError): void => {
    if (isDone) return
    giveUp()
    failed(error)
  }
  socket
    .on('error', (cause) => fail(new ConnectError(cause)))
    .on('unexpected-response', (_, response) => {
      isRefused = true
      refusal(response, fail)
    })
    .on('upgrade', ({ headers, socket: tcp }) => {
      if (isRefused) return
      if (isSensibleAnswer(headers)) {
        adopt = adopter(tcp, socket, headers, call.settings)
        return
      }
      const header = headers['sec-websocket-extensions']
      const text = `the server answered with Sec-WebSocket-Extensions that make no sense: ${header}`
      fail(new ConnectError(escaped(text)))
    })
    .on('open', () => {
      if (isRefused) return
      isDone = true
      socket.removeAllListeners()
      opened(adopt())
    })
  return giveUp
}

function open({ url, protocols, headers, settings }: Call): WebSocket {
  const { agent, tls, compression } = settings
  return new WebSocket(url, [...protocols], {
    ...tls,
    perMessageDeflate: compression !== false && offerOf(settings),
    headers: { ...headers },
    ...(agent && { agent }),
  })
}

/** Returns what `ws` offers of permessage-deflate. */
function offerOf(settings: ClientSettings): PerMessageDeflateOptions {
  const { serverMaxWindowBits, clientMaxWindowBits, ...flags } = deflateOptions(settings)
  return {
    ...flags,
    ...(serverMaxWindowBits < LARGEST_WINDOW && { serverMaxWindowBits }),
    ...(clientMaxWindowBits < LARGEST_WINDOW && { clientMaxWindowBits }),
  }
}

/** Makes what takes a TCP socket over from `ws`, once that has checked the handshake. */
function adopter(
  tcp: Socket | undefined,
  socket: WebSocket,
  headers: IncomingHttpHeaders,
  settings: ClientSettings,
): () => Transport {
  if (!tcp) return () => new WebSocketTransport(socket, settings) // the runtime keeps it to itself, as Bun does
  const before = ['data', 'end', 'close', 'error'].map(
    (event) => [event, new Set(tcp.listeners(event))] as const,
  )
  return () => {
    for (const [event, known] of before) {
      for (const listener of tcp.listeners(event)) {
        if (!known.has(listener)) tcp.off(event, listener as () => void)
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

/** Reads what a server says instead of 101: its status, headers, and the start of its body. */
function refusal(response: IncomingMessage, fail: (error: ConnectError) => void): void {
  const { statusCode: status = 0, statusMessage = '' } = response
  let body = Buffer.alloc(0)
  const finish = (): void => {
    clearTimeout(timer)
    fail(
      new ConnectError(escaped(`the server answered ${status} ${statusMessage}`.trimEnd()), {
        status,
        headers: flat(response.headers),
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

function flat(headers: IncomingHttpHeaders): Record<string, string> {
  const pairs = Object.entries(headers).map(([name, value]) => [name, String(value)] as const)
  return Object.assign(Object.create(null), Object.fromEntries(pairs)) as Record<string, string>
}
