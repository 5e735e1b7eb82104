import { setTimeout as sleep } from 'node:timers/promises'
import type { Attempt, Outcome, Sink } from '@postrider/relay'

interface Waiting {
  readonly attempt: Attempt
  readonly answer: (outcome: Outcome) => void
}

/** What becomes of a batch: all of it is written, or the failure of its heads. */
type Fate = 'written' | (Outcome & { readonly kind: 'retry' | 'reject' })

/** A log with partitions, as a sink: a batch of each at a time, several events of a key in it, and of what fails nothing behind it. */
export class LogSink implements Sink {
  readonly name = 'log'
  readonly kind = 'log'
  readonly deadlineMs = 2_000
  readonly pipelined = true
  readonly partitions: { queue: Waiting[]; busy: boolean; log: Attempt[] }[]
  /** Decides about the next batch; may take its time. */
  fate: (batch: readonly Attempt[]) => Fate | Promise<Fate> = () => 'written'
  batches = 0
  largest = 0
  mostOfAKey = 0
  doubtful = 0

  constructor(partitions: number) {
    this.partitions = Array.from({ length: partitions }, () => ({ queue: [], busy: false, log: [] }))
  }

  get log(): readonly Attempt[] {
    return this.partitions.flatMap(({ log }) => log)
  }

  deliver(attempt: Attempt): Promise<Outcome> {
    if (attempt.doubtful === true) this.doubtful++
    const nth = attempt.event.key === null ? 0 : Number(attempt.event.key.replaceAll(/\D/g, '')) % this.partitions.length
    return new Promise((answer) => {
      this.partitions[nth]!.queue.push({ attempt, answer })
      void this.#flush(nth)
    })
  }

  async #flush(nth: number): Promise<void> {
    const partition = this.partitions[nth]!
    if (partition.busy) return
    partition.busy = true
    await sleep(0)
    while (partition.queue.length > 0) {
      const batch = partition.queue.splice(0, 50)
      this.batches++
      this.largest = Math.max(this.largest, batch.length)
      const keys = Map.groupBy(batch, ({ attempt }) => attempt.event.key)
      this.mostOfAKey = Math.max(this.mostOfAKey, ...[...keys].map(([key, { length }]) => (key === null ? 1 : length)))
      const fate = await this.fate(batch.map(({ attempt }) => attempt))
      if (fate === 'written') {
        for (const { attempt, answer } of batch) {
          answer({ kind: 'delivered', appended: { topic: 'log', partition: nth, offset: String(partition.log.length) } })
          partition.log.push(attempt)
        }
        continue
      }
      // What is queued of the keys that failed was called for behind them.
      const all = [...batch, ...partition.queue.splice(0)]
      const failed = new Set<string>()
      const rest: Waiting[] = []
      for (const [index, one] of all.entries()) {
        const { key } = one.attempt.event
        if (key !== null && failed.has(key)) one.answer({ kind: 'behind' })
        else if (index < batch.length) {
          if (key !== null) failed.add(key)
          one.answer(fate)
        } else rest.push(one)
      }
      partition.queue.unshift(...rest)
    }
    partition.busy = false
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  /** Of each key, the numbers in the order of the log, repeats left out. */
  sequences(): Map<string | null, number[]> {
    const seen = new Set<string>()
    const numbers = new Map<string | null, number[]>()
    for (const { event } of this.log) {
      if (seen.has(event.id)) continue
      seen.add(event.id)
      const of = numbers.get(event.key) ?? []
      numbers.set(event.key, of)
      of.push((JSON.parse(event.payloadText ?? '{}') as { n: number }).n)
    }
    return numbers
  }
}
