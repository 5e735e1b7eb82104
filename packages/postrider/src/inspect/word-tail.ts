import { plain, style } from '../print.ts'
import { wordDuration } from '../table.ts'
import type { Tailed } from './attempts.ts'

const colours: Readonly<Record<string, 'green' | 'yellow' | 'red' | 'dim'>> = {
  delivered: 'green',
  retry: 'yellow',
  throttled: 'yellow',
  reject: 'red',
  gone: 'red',
}

/** Lines for a terminal, one under the other: a column is as wide as its widest cell so far. */
export class Lines {
  readonly #widths: number[] = []

  word(row: Tailed): string {
    if (row.kind === 'event') {
      const cells = [timeOf(row.createdAt), '', 'written', '', '', row.type, row.key ?? '-', row.eventId]
      return this.#line(cells, (text) => style('dim', text))
    }
    const { startedAt, sink, outcome, status, durationMs, type, key, eventId, attempt, errorCode, error } = row
    const cells = [
      timeOf(startedAt),
      sink,
      outcome,
      String(status ?? ''),
      wordDuration(durationMs),
      type ?? '?',
      key ?? '-',
      eventId,
    ]
    const line = this.#line(cells, (text, column) => (column === 2 ? style(colours[outcome] ?? 'dim', text) : text))
    const trouble = errorCode === null ? '' : plain(`${errorCode}: ${error ?? ''}`)
    return [line, ...(attempt > 1 ? [`attempt ${attempt}`] : []), trouble].join('  ').trimEnd()
  }

  #line(cells: readonly string[], paint: (text: string, column: number) => string): string {
    return cells
      .map((cell, column) => {
        const text = plain(cell)
        const width = Math.max(this.#widths[column] ?? 0, text.length)
        this.#widths[column] = width
        return paint(text, column) + ' '.repeat(width - text.length)
      })
      .join('  ')
      .trimEnd()
  }
}

/** Time of day on this machine. */
function timeOf(iso: string): string {
  const time = new Date(iso)
  const two = (n: number): string => String(n).padStart(2, '0')
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}.${String(time.getMilliseconds()).padStart(3, '0')}`
}
