import { listen, WebsocketClient } from '../built.ts'
import { report } from '../servers/report.ts'

let count = 0
const port = Number(process.argv[2])
const connection = await new WebsocketClient().open(`ws://127.0.0.1:${port}`)
listen(connection, 'message', () => {
  count++
})
report(port, () => count)
