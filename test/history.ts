/** An event as its writer knows it: the `n`th of its key, in the order of commits. */
export interface Written {
  readonly id: string
  readonly key: string
  readonly n: number
}

/** What is wrong with a history. */
export interface Faults {
  /** Committed, and never received. */
  readonly lost: readonly string[]
  /** Received, and never committed. */
  readonly phantom: readonly string[]
  /** Received for the first time after a later event of the key. */
  readonly outOfOrder: readonly string[]
  /** Received with another key or number than was committed. */
  readonly changed: readonly string[]
}

export const faultless: Faults = { lost: [], phantom: [], outOfOrder: [], changed: [] }

/** Compares what was committed with what arrived, in the order of arrival. Repeats are no fault: they are counted by {@link repeats}. */
export function faultsOf(committed: readonly Written[], received: readonly Written[]): Faults {
  const written = new Map(committed.map((event) => [event.id, event]))
  const seen = new Set<string>()
  const highest = new Map<string, number>()
  const faults = { lost: [] as string[], phantom: [] as string[], outOfOrder: [] as string[], changed: [] as string[] }
  for (const { id, key, n } of received) {
    if (seen.has(id)) continue
    seen.add(id)
    const event = written.get(id)
    if (event === undefined) faults.phantom.push(id)
    else if (event.key !== key || event.n !== n) faults.changed.push(id)
    if (n < (highest.get(key) ?? 0)) faults.outOfOrder.push(`${key}: ${n} after ${highest.get(key)}`)
    else highest.set(key, n)
  }
  for (const id of written.keys()) if (!seen.has(id)) faults.lost.push(id)
  return faults
}

/** How many receipts were of an event that had been received before. */
export function repeats(received: readonly Written[]): number {
  return received.length - new Set(received.map(({ id }) => id)).size
}
