import type { Road } from './messages.ts'

/** A row of the shop's orders. */
export interface Order {
  readonly id: number
  readonly customer: string
  /** Of this customer, from 1, without gaps. */
  readonly nth: number
}

/** What an order did at the consumer. */
export interface Effect {
  readonly orderId: number
  readonly customer: string
  readonly nth: number
  readonly road: Road
}

/** Everything counts orders. */
export interface Comparison {
  readonly orders: number
  readonly effects: number
  /** Committed, and without effect. */
  readonly missing: number
  /** With more than one effect. */
  readonly twice: number
  /** With an effect, and not committed as it says. */
  readonly invented: number
  /** With an effect after that of a later order of their customer. */
  readonly outOfOrder: number
  /** Effects by the road that brought them. */
  readonly byWebhook: number
  readonly byKafka: number
}

/** The orders that the shop has committed, against what they did, in the order in which they did it. Pure. */
export function compare(orders: readonly Order[], effects: readonly Effect[]): Comparison {
  const committed = new Map(orders.map((order) => [order.id, order]))
  const times = new Map<number, number>()
  const newest = new Map<string, number>()
  let [invented, outOfOrder] = [0, 0]
  for (const { orderId, customer, nth } of effects) {
    const order = committed.get(orderId)
    if (order === undefined || order.customer !== customer || order.nth !== nth) {
      invented++
      continue
    }
    const before = times.get(orderId) ?? 0
    times.set(orderId, before + 1)
    if (before > 0) continue
    const last = newest.get(customer) ?? 0
    if (nth < last) outOfOrder++
    else newest.set(customer, nth)
  }
  const by = (road: Road): number => effects.filter((effect) => effect.road === road).length
  return {
    orders: orders.length,
    effects: effects.length,
    missing: orders.filter(({ id }) => !times.has(id)).length,
    twice: [...times.values()].filter((count) => count > 1).length,
    invented,
    outOfOrder,
    byWebhook: by('webhook'),
    byKafka: by('kafka'),
  }
}
