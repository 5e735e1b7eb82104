import { randomUUID } from 'node:crypto'
import type { Inbox, OrderEvent } from './inbox.ts'

/**
 * What a receiver can do so that the demo must notice, each once:
 * `forget` an event it has acknowledged, `invent` one, `swap` two of an order, or `tamper` with a request.
 */
export const faults = ['forget', 'invent', 'swap', 'tamper'] as const
export type Fault = (typeof faults)[number]

/** The same inbox, with faults in it. */
export function plantFaults(inbox: Inbox, planted: readonly Fault[]): Inbox {
  const open = new Set(planted)
  let held: { readonly event: OrderEvent; readonly atMs: number } | undefined

  return {
    verify(body, headers) {
      if (!open.delete('tamper')) return inbox.verify(body, headers)
      const changed = Buffer.from(body)
      changed[changed.length - 2] = (changed.at(-2) ?? 0) ^ 1
      return inbox.verify(changed, headers)
    },
    async take(event, atMs) {
      if (open.delete('invent')) await inbox.take({ ...event, id: randomUUID() }, atMs)
      if (event.type === 'order.shipped' && open.delete('forget')) return true
      if (event.type === 'order.placed' && open.delete('swap')) {
        held = { event, atMs }
        return true
      }
      const taken = await inbox.take(event, atMs)
      if (held !== undefined && held.event.data.orderId === event.data.orderId && held.event.id !== event.id) {
        const { event: earlier, atMs: earlierMs } = held
        held = undefined
        await inbox.take(earlier, earlierMs)
      }
      return taken
    },
  }
}
