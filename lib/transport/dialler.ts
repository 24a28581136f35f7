import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import type { Socket as TcpSocket } from 'node:net'
import { ConnectError } from '../errors.ts'
import type { ConnectionSettings } from '../options/connection.ts'
import { makesSense } from './deflate.ts'
import { HiddenTcp } from './hidden.ts'
import type { Dial, Transport } from './transport.ts'
import { Socket, WsTransport, type Terms } from './ws.ts'
import { listed, shared } from './wsoptions.ts'

const MOST_BODY = 4 * 1024 // bytes kept of what a server says instead of 101
const BODY_TIMEOUT = 1_000

/** A connection that `ws` has opened as a client. */
export interface Opened {
  readonly socket: Socket
  /** Nothing where the runtime keeps its own to itself. */
  readonly tcp: TcpSocket | undefined
  readonly settings: ConnectionSettings
  /** Takes what `ws` listens to off the TCP socket. */
  readonly release: () => void
}

/** Dials with `ws`, and makes a transport of what comes of it; it throws for what it can't dial. */
export function dialBy(adopt: (opened: Opened) => Transport): Dial {
  return ({ url, protocols, headers, settings }, { opened, failed }) => {
    const { agent, tls } = settings
    const socket = new Socket(url, [...protocols], {
      ...tls,
      ...shared(settings),
      headers: { ...headers },
      ...(agent && { agent }),
    })
    let tcp: TcpSocket | undefined
    let release = (): void => {}
    let done = false
    const giveUp = (): void => {
      done = true
      socket.terminate()
    }
    const fail = (error: ConnectError): void => {
      if (done) return
      giveUp()
      failed(error)
    }
    socket
      .on('error', (cause) => fail(new ConnectError(cause)))
      .on('unexpected-response', (_, response) => refusal(response, fail))
      .on('upgrade', ({ headers, socket }) => {
        const [answer, ...others] = listed(headers)
        if (others.length > 0 || (answer && !makesSense(answer, 'server'))) {
          const header = headers['sec-websocket-extensions']
          fail(
            new ConnectError(
              `the server answered with Sec-WebSocket-Extensions that make no sense: ${header}`,
            ),
          )
          return
        }
        tcp = socket
        release = releaser(tcp)
      })
      .on('open', () => {
        done = true
        socket.removeAllListeners()
        opened(adopt({ socket, tcp, settings, release }))
      })
    return giveUp
  }
}

/** Makes what removes the listeners that a TCP socket gets from now on; Bun doesn't tell of its own. */
function releaser(tcp: TcpSocket | undefined): () => void {
  if (!tcp) return () => {}
  const before = ['data', 'end', 'close', 'error'].map(
    (event) => [event, new Set(tcp.listeners(event))] as const,
  )
  return () => {
    for (const [event, known] of before) {
      for (const listener of tcp.listeners(event)) {
        if (!known.has(listener)) tcp.off(event, listener as () => void)
      }
    }
  }
}

/** Leaves a connection to `ws`. */
export function adoptByWs({ socket, tcp, settings }: Opened): Transport {
  const terms: Terms = { settings, side: 'client', agreement: undefined, framing: false }
  return new WsTransport(socket, tcp ?? new HiddenTcp(socket), terms)
}

/** Reads what a server says instead of 101: its status, headers, and the start of its body. */
function refusal(response: IncomingMessage, fail: (error: ConnectError) => void): void {
  const { statusCode: status = 0, statusMessage = '' } = response
  let body = Buffer.alloc(0)
  const finish = (): void => {
    clearTimeout(timer)
    fail(
      new ConnectError(`the server answered ${status} ${statusMessage}`.trimEnd(), {
        status,
        headers: flat(response.headers),
        body: body.subarray(0, MOST_BODY).toString(),
      }),
    )
    response.destroy()
  }
  const timer = setTimeout(finish, BODY_TIMEOUT)
  response
    .on('data', (chunk: Buffer) => {
      body = Buffer.concat([body, chunk])
      if (body.length >= MOST_BODY) finish()
    })
    .on('error', finish)
    .on('close', finish)
}

function flat(headers: IncomingHttpHeaders): Record<string, string> {
  const pairs = Object.entries(headers).map(([name, value]) => [name, String(value)] as const)
  return Object.assign(Object.create(null), Object.fromEntries(pairs)) as Record<string, string>
}
