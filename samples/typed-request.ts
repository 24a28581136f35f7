// Asks typed questions over one connection: the type of the answer follows from the question's.
// Run: node --conditions=source --import tsx samples/typed-request.ts
import { json, listen, once, WebsocketClient, WebsocketServer } from 'simplewebsockets'
import type { WebsocketConnection } from 'simplewebsockets'
import { z } from 'zod'

const id = z.int()
const Question = z.discriminatedUnion('type', [
  z.object({ type: z.literal('price'), item: z.string() }),
  z.object({ type: z.literal('stock'), item: z.string() }),
])
const Request = Question.and(z.object({ id }))
const Answer = z.discriminatedUnion('type', [
  z.object({ id, type: z.literal('price'), price: z.number() }),
  z.object({ id, type: z.literal('stock'), count: z.int() }),
])
type Question = z.infer<typeof Question>
type Request = z.infer<typeof Request>
type Answer = z.infer<typeof Answer>
type AnswerTo<Type> = Extract<Answer, { type: Type }>

let lastId = 0

async function request<Type extends Question['type']>(
  connection: WebsocketConnection<{}, Answer, Request>,
  question: Question & { type: Type },
): Promise<AnswerTo<Type>> {
  const id = ++lastId
  const isAnswer = (answer: Answer): answer is AnswerTo<Type> =>
    answer.id === id && answer.type === question.type
  const signal = AbortSignal.timeout(5_000)
  const answer = once(connection, 'message', { where: isAnswer, signal })
  connection.send({ ...question, id })
  return answer
}

const server = new WebsocketServer({ messages: json({ in: Request, out: Answer }) })
listen(server, 'client', (client) => {
  listen(client, 'message', ({ id, type, item }) => {
    if (type === 'price') client.send({ id, type, price: item.length })
    else client.send({ id, type, count: 100 })
  })
})
const { port } = await server.serve(Number(process.env.PORT ?? 8080))

const messages = json({ in: Answer, out: Request })
const connection = await new WebsocketClient({ messages }).open(`ws://localhost:${port}`)
const stock = request(connection, { type: 'stock', item: 'tea' })
const { price } = await request(connection, { type: 'price', item: 'tea' })
console.log(`${(await stock).count} of tea, ${price} each`)
await server.close()
