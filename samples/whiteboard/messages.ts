// The messages of the whiteboard. Each side checks what it receives by these schemas.
import { z } from 'zod'

export const Point = z.object({ x: z.number(), y: z.number() })
export const Points = z.array(Point).min(1).max(100) // a piece of a line
const name = z.string()

export const ClientMessage = z.discriminatedUnion('type', [
  z.object({ type: z.literal('stroke'), points: Points }),
  z.object({ type: z.literal('cursor'), at: Point }),
  z.object({ type: z.literal('clear') }),
])

export const ServerMessage = z.discriminatedUnion('type', [
  z.object({ type: z.literal('strokes'), strokes: z.array(Points) }),
  z.object({ type: z.literal('joined'), name }),
  z.object({ type: z.literal('left'), name }),
  z.object({ type: z.literal('stroke'), name, points: Points }),
  z.object({ type: z.literal('cursor'), name, at: Point }),
  z.object({ type: z.literal('clear'), name }),
])

export type Point = z.infer<typeof Point>
export type ClientMessage = z.infer<typeof ClientMessage>
export type ServerMessage = z.infer<typeof ServerMessage>
