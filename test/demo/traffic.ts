import { setTimeout as sleep } from 'node:timers/promises'
import type { Diary } from './diary.ts'
import { Declined, type NewOrder, type OrderService } from './order-service.ts'

export const writers = 4
/** Share of the charges that are declined. */
const declined = 0.12
const customers = ['Ada', 'Bela', 'Chidi', 'Dana', 'Emil', 'Fatou', 'Goro', 'Hana']

export interface TrafficOptions {
  /** To commit, exactly. */
  readonly events: number
  /** The time over which they are spread; 0 for as fast as it goes. */
  readonly durationMs: number
  readonly signal: AbortSignal
}

interface OpenOrder {
  readonly id: number
  paid: boolean
  parcelsLeft: number
}

/** The bank of the customers: it takes its time, and the writers hold their rows meanwhile. */
export async function charge(): Promise<boolean> {
  await sleep(3)
  return Math.random() >= declined
}

/**
 * Customers: four writers at once place, pay, ship and cancel orders until as many events are committed as were asked for.
 * They often want the same order, and wait for its row; some of their transactions are rolled back.
 */
export async function runTraffic(
  service: OrderService,
  diary: Diary,
  { events, durationMs, signal }: TrafficOptions,
): Promise<void> {
  const started = performance.now()
  const open: OpenOrder[] = []
  let underWay = 0
  let yenPlaced = false

  /** One change of one order. */
  async function change(left: number): Promise<void> {
    const order = pick(open)
    if (!yenPlaced && diary.committed.length >= events * 0.12 && left > 1) {
      yenPlaced = true
      const id = await service.place({ ...newOrder(), currency: 'JPY', parcels: 3 }, false)
      open.push({ id, paid: false, parcelsLeft: 3 })
    } else if (order === undefined || (Math.random() < 0.3 && open.length < 40)) {
      const inAdvance = left > 1 && Math.random() < 0.25
      const wanted = newOrder()
      const id = await service.place(wanted, inAdvance)
      open.push({ id, paid: inAdvance, parcelsLeft: wanted.parcels })
    } else if (order.paid) {
      if (--order.parcelsLeft === 0) open.splice(open.indexOf(order), 1)
      await service.shipParcel(order.id)
    } else if (Math.random() < 0.15) {
      open.splice(open.indexOf(order), 1)
      await service.cancel(order.id, 'changed my mind')
    } else {
      await service.pay(order.id)
      order.paid = true
    }
  }

  async function write(): Promise<void> {
    while (!signal.aborted) {
      const begun = diary.committed.length + underWay
      const left = events - begun
      if (diary.committed.length >= events) return
      const dueMs = started + (durationMs * begun) / events - performance.now()
      if (left <= 0 || dueMs > 1) {
        await sleep(left <= 0 ? 2 : dueMs, undefined, { signal })
        continue
      }
      const most = Math.min(left, 2)
      underWay += most
      try {
        await change(most)
      } catch (error) {
        if (!(error instanceof Declined)) throw error
      } finally {
        underWay -= most
      }
    }
  }

  await Promise.all(Array.from({ length: writers }, write))
}

/** Mostly one of the newest: so that several want the same order at once. */
function pick(open: readonly OpenOrder[]): OpenOrder | undefined {
  const among = Math.random() < 0.5 ? open.slice(-3) : open
  return among[Math.floor(Math.random() * among.length)]
}

function newOrder(): NewOrder {
  return {
    customer: customers[Math.floor(Math.random() * customers.length)] ?? 'Ada',
    currency: Math.random() < 0.5 ? 'EUR' : 'USD',
    total: 500 + Math.floor(Math.random() * 20_000),
    parcels: 1 + Math.floor(Math.random() * 3),
  }
}
