import { setTimeout as sleep } from 'node:timers/promises'
import { Declined, type Shop } from './orders.ts'

/** Customers who pay at once, and who want the same rows now and then. */
const quick = Array.from({ length: 60 }, (_, nth) => `customer-${nth + 1}`)
/** Customers who take their time to pay, while their transaction is open. */
const slow = ['late-1', 'late-2', 'late-3']
const writers = 6
/** Share of the orders that are not paid. */
const declined = 0.08
const paying = { quickMs: 2, slowMs: [600, 1_800] } as const

export const customers: readonly string[] = [...quick, ...slow]

/** What has become of the orders so far. */
export interface Sales {
  committed: number
  rolledBack: number
  /** Committed more than half a second after their events were written. */
  late: number
}

export interface Rush {
  /** Orders that are placed as fast as it goes; from then on so many a second. */
  readonly history: number
  readonly perSecond: number
  readonly leave: AbortSignal
}

/** Places orders until told to leave, and then ends what was begun. */
export async function runCustomers(shop: Shop, sales: Sales, { history, perSecond, leave }: Rush): Promise<void> {
  let begun = 0
  let pacedSince = 0

  async function order(customer: string, payMs: number): Promise<boolean> {
    try {
      await shop.place(customer, 500 + Math.floor(Math.random() * 20_000), async () => {
        await sleep(payMs, undefined, { signal: leave }).catch(() => {}) // the shop closes: pay now
        return Math.random() >= declined
      })
      sales.committed++
      return true
    } catch (error) {
      if (!(error instanceof Declined)) throw error
      sales.rolledBack++
      return false
    }
  }

  async function hurry(): Promise<void> {
    while (!leave.aborted) {
      const paced = begun++ - history
      if (paced >= 0) {
        pacedSince ||= performance.now()
        const dueMs = pacedSince + (1_000 * paced) / perSecond - performance.now()
        if (dueMs > 1) await sleep(dueMs, undefined, { signal: leave }).catch(() => {})
      }
      if (!leave.aborted) await order(quick[Math.floor(Math.random() * quick.length)] ?? 'customer-1', paying.quickMs)
    }
  }

  async function dawdle(customer: string): Promise<void> {
    const [least, most] = paying.slowMs
    while (!leave.aborted) {
      if ((await order(customer, least + Math.random() * (most - least))) && !leave.aborted) sales.late++
    }
  }

  await Promise.all([...Array.from({ length: writers }, hurry), ...slow.map(dawdle)])
}
