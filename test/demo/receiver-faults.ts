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

  let turn: Promise<unknown> = Promise.resolve()

  async function takeOne(event: OrderEvent, atMs: number): Promise<boolean> {
    if (open.delete('invent')) await inbox.take({ ...event, id: randomUUID() }, atMs)
    if (event.type === 'order.shipped' && open.delete('forget')) return true
    if (event.type === 'order.placed' && open.has('swap')) {
      if (held?.event.id === event.id) return true
      // The order that is held may have been cancelled: then nothing comes that could go before.
      if (held !== undefined) await inbox.take(held.event, held.atMs)
      held = { event, atMs }
      return true
    }
    const taken = await inbox.take(event, atMs)
    if (held !== undefined && held.event.data.orderId === event.data.orderId && held.event.id !== event.id) {
      await inbox.take(held.event, held.atMs)
      held = undefined
      open.delete('swap')
    }
    return taken
  }

  return {
    verify(body, headers) {
      if (!open.delete('tamper')) return inbox.verify(body, headers)
      const changed = Buffer.from(body)
      changed[changed.length - 2] = (changed.at(-2) ?? 0) ^ 1
      return inbox.verify(changed, headers)
    },
    // One at a time, or faults would plant others.
    take(event, atMs) {
      const taken = turn.then(() => takeOne(event, atMs))
      turn = taken.catch(() => undefined)
      return taken
    },
  }
}
