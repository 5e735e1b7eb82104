import { printJson, say } from './print.ts'
import { wordDuration } from './table.ts'

/** How far some long work has come. */
export interface Step {
  /** Of `total`, as far as that is known. */
  readonly done: number
  /** Null when nobody knows. */
  readonly total: number | null
  /** Why it stands still, or null. */
  readonly waits: string | null
  /** What else belongs into a line of JSON. */
  readonly more: Readonly<Record<string, unknown>>
}

export interface ProgressOptions {
  readonly json: boolean
  /** Only data and errors. */
  readonly quiet: boolean
}

/** A line each so often where there is no terminal. */
const lineMs = 10_000
const jsonMs = 1_000
/** The rate is that of the last seconds. */
const windowMs = 5_000
const barWidth = 30

/**
 * Shows how long work goes on, and is told as often as one likes: a bar on a terminal, else a line each 10 s on stderr;
 * with `json` a line `{"type":"progress",…}` each second on stdout.
 */
export class Progress implements Disposable {
  readonly #options: ProgressOptions
  readonly #terminal: boolean
  readonly #what: string
  readonly #seen: { readonly at: number; readonly done: number }[] = []
  #shownAt: number
  #drawn = false

  constructor(what: string, options: ProgressOptions, terminal: boolean = process.stderr.isTTY) {
    this.#what = what
    this.#options = options
    this.#terminal = terminal && !options.json && !options.quiet
    // The first line when there is something to say; a bar at once.
    this.#shownAt = performance.now() - (options.json ? jsonMs : 0)
  }

  show(step: Step): void {
    const now = performance.now()
    this.#seen.push({ at: now, done: step.done })
    while (this.#seen.length > 2 && (this.#seen[0]?.at ?? now) < now - windowMs) this.#seen.shift()
    if (this.#terminal) this.#draw(step)
    else if (now - this.#shownAt >= (this.#options.json ? jsonMs : lineMs)) {
      this.#shownAt = now
      if (this.#options.json) this.#tell(step)
      else say(`${this.#what}: ${this.#word(step)}`)
    }
  }

  /** Takes the bar away, so that a message can stand there. */
  clear(): void {
    if (this.#drawn) process.stderr.write('\r\u001b[K')
    this.#drawn = false
  }

  [Symbol.dispose](): void {
    this.clear()
  }

  /** Events in a second. */
  get #perSecond(): number {
    const [first] = this.#seen
    const last = this.#seen.at(-1)
    if (first === undefined || last === undefined || last.at === first.at) return 0
    return ((last.done - first.done) * 1_000) / (last.at - first.at)
  }

  #etaMs({ done, total }: Step): number | null {
    const perSecond = this.#perSecond
    return total === null || perSecond === 0 ? null : (Math.max(0, total - done) / perSecond) * 1_000
  }

  #word(step: Step): string {
    const { done, total, waits } = step
    const eta = this.#etaMs(step)
    return [
      `${done.toLocaleString('en')}${total === null ? '' : `/${total.toLocaleString('en')}`}`,
      `${Math.round(this.#perSecond).toLocaleString('en')}/s`,
      ...(eta === null ? [] : [`eta ${wordDuration(eta)}`]),
      ...(waits === null ? [] : [waits]),
    ].join('  ')
  }

  #draw(step: Step): void {
    const { done, total } = step
    const share = total === null || total === 0 ? null : Math.min(1, done / total)
    const filled = share === null ? 0 : Math.floor(share * barWidth)
    const bar = share === null ? '' : `[${'#'.repeat(filled)}${'-'.repeat(barWidth - filled)}] `
    const line = `${this.#what} ${bar}${this.#word(step)}`
    process.stderr.write(`\r${line.slice(0, (process.stderr.columns ?? 100) - 1)}\u001b[K`)
    this.#drawn = true
  }

  #tell(step: Step): void {
    const { done, total, waits, more } = step
    const eta = this.#etaMs(step)
    printJson({
      type: 'progress',
      ...more,
      done,
      total,
      perSecond: Math.round(this.#perSecond * 10) / 10,
      etaSeconds: eta === null ? null : Math.ceil(eta / 1_000),
      waits,
    })
  }
}
