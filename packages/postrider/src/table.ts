import { stripVTControlCharacters } from 'node:util'
import { style } from './print.ts'

/** One column: its title, and how a row shows there. Numbers stand at the right. */
export interface Column<Row> {
  readonly title: string
  readonly cell: (row: Row) => string
  readonly align?: 'right'
}

const gap = '  '

/** An aligned table, titles first. Cells may carry colour. */
export function renderTable<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): string {
  const cells = rows.map((row) => columns.map(({ cell }) => cell(row)))
  const widths = columns.map(({ title }, index) =>
    Math.max(...[[title], ...cells.map((row) => [row[index] ?? ''])].flat().map(widthOf)),
  )
  const lineOf = (texts: readonly string[]): string =>
    columns
      .map(({ align }, index) => pad(texts[index] ?? '', widths[index] ?? 0, align))
      .join(gap)
      .trimEnd()
  const title = style('dim', lineOf(columns.map(({ title }) => title)))
  return [title, ...cells.map(lineOf)].join('\n')
}

function pad(text: string, width: number, align: 'right' | undefined): string {
  const space = ' '.repeat(width - widthOf(text))
  return align === 'right' ? space + text : text + space
}

function widthOf(text: string): number {
  return stripVTControlCharacters(text).length
}

/** `850ms`, `12s`, `3m20s`, `5h`, `2d4h`: the two greatest units. */
export function wordDuration(ms: number): string {
  if (ms < 1_000) return `${Math.max(0, Math.round(ms))}ms`
  const units = [
    ['d', 86_400],
    ['h', 3_600],
    ['m', 60],
    ['s', 1],
  ] as const
  let seconds = Math.floor(ms / 1_000)
  const parts: string[] = []
  for (const [unit, size] of units) {
    const count = Math.floor(seconds / size)
    if (count > 0) parts.push(`${count}${unit}`)
    else if (parts.length > 0) break
    seconds %= size
  }
  return parts.slice(0, 2).join('')
}

/** `850 B`, `12.3 kB`, `4.1 GB`: thousands, as disks and brokers count. */
export function wordBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let value = bytes
  let nth = 0
  while (value >= 1_000 && nth < units.length - 1) {
    value /= 1_000
    nth++
  }
  return `${nth === 0 ? Math.round(value) : value.toFixed(1)} ${units[nth]}`
}
