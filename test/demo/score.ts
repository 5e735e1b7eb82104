import { percentile } from './check.ts'
import type { Diary } from './diary.ts'
import type { ReceiverReport } from './messages.ts'

export interface Happening {
  /** Since the start. */
  readonly atMs: number
  readonly text: string
  readonly tone: 'plain' | 'good' | 'bad'
}

export type Standing = 'none' | 'starting' | 'up' | 'killed' | 'done'

/** How many attempts and receipts the latency on the screen is taken from. */
const latest = 500

/** How things stand, for those who watch. The verdict is not taken from here. */
export class Score {
  readonly events: number
  readonly happenings: Happening[] = []
  requests = 0
  duplicates = 0
  badSignatures = 0
  retries = 0
  /** Of the backlog, as the database says. */
  trouble: { readonly waiting: number; readonly blocked: number; readonly dead: number } = { waiting: 0, blocked: 0, dead: 0 }
  service: Standing = 'none'
  relay: { readonly number: number; readonly standing: Standing; readonly lanes: number } = {
    number: 1,
    standing: 'none',
    lanes: 0,
  }
  receiver: { readonly number: number; readonly standing: Standing } = { number: 1, standing: 'none' }
  readonly #diary: Diary
  readonly #started = performance.now()
  readonly #delivered = new Set<string>()
  readonly #latencies: number[] = []
  readonly #onHappening: (happening: Happening) => void

  constructor(events: number, diary: Diary, onHappening: (happening: Happening) => void) {
    this.events = events
    this.#diary = diary
    this.#onHappening = onHappening
  }

  get elapsedMs(): number {
    return performance.now() - this.#started
  }

  get committed(): number {
    return this.#diary.committed.length
  }

  get rolledBack(): number {
    return this.#diary.rolledBack.length
  }

  get delivered(): number {
    return this.#delivered.size
  }

  /** Committed, and not there yet. */
  get backlog(): number {
    return Math.max(0, this.committed - this.delivered)
  }

  get latency(): { readonly p50Ms: number; readonly p99Ms: number } {
    return { p50Ms: percentile(this.#latencies, 0.5), p99Ms: percentile(this.#latencies, 0.99) }
  }

  has(id: string): boolean {
    return this.#delivered.has(id)
  }

  happen(text: string, tone: Happening['tone'] = 'plain'): void {
    const happening = { atMs: this.elapsedMs, text, tone }
    this.happenings.push(happening)
    this.#onHappening(happening)
  }

  request({ id, result, atMs }: Extract<ReceiverReport, { is: 'request' }>): void {
    this.requests++
    if (result === 'bad signature') this.badSignatures++
    if (result !== 'taken' && result !== 'duplicate') return
    if (result === 'duplicate') this.duplicates++
    this.#delivered.add(id)
    const committingMs = this.#diary.committingMs(id)
    if (result === 'taken' && committingMs !== undefined) this.#latencies.push(Math.max(0, atMs - committingMs))
    if (this.#latencies.length > latest) this.#latencies.shift()
  }
}
