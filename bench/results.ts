import type { Result } from './cases/result.ts'

/** Returns one case in Markdown. */
export function section({ name, about, table, notes }: Result): string {
  const tail = notes.length > 0 ? [notes.map((note) => `- ${note}`).join('\n')] : []
  return [`## ${name}`, `${about}.`, table, ...tail].join('\n\n')
}

/** Returns the whole file in Markdown. */
export function document(machine: readonly string[], results: readonly Result[]): string {
  return `# Results

Measured ${new Date().toISOString().slice(0, 10)}.

${machine.map((line) => `- ${line}`).join('\n')}

To repeat it: \`npm ci && npm run bench\`, which takes about twenty minutes, installs the peers into
\`bench/node_modules\` the first time, and writes this file. One part alone, printed only:
\`npm run bench -- echo\`, or fanout, memory, handshakes, client, channels, slow, diagnostics, cluster. Ours
beside bare \`ws\` alone, in two minutes: \`npm run bench -- --quick\`.

- Each server runs alone on a core, the generator on another; turns of 150 ms go round all of them.
- Figures are medians of the rounds. \`to ws\`: where bare \`ws\` did 1 in the same round; \`spread\`: the
  least and the most of that, or of what else the column is named after. µs: CPU time of the server, as the system tells it.
- \`busy\` and \`generator\`: how much of its core the server, and the generator, needed.
- \`websocket\` is WebSocket-Node, \`uws\` is uWebSockets.js, \`bun\` is the server that Bun has built in, \`net\`
  is no server but the least code that answers a frame: the floor of Node's own sockets.

${results.map(section).join('\n\n')}
`
}
