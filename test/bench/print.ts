import type { Result, Row } from './bench.ts'

/** A table for people: a figure with its least and greatest value behind it. */
export function tableOf(rows: readonly Row[]): string {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))].filter((name) => !rows.some((row) => isBound(name, row)))
  const lines = [columns, ...rows.map((row) => columns.map((name) => cell(row, name)))]
  const widths = columns.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)))
  const isNumber = columns.map((name) => rows.every((row) => typeof (row[name] ?? 0) === 'number'))
  const aligned = lines.map((line) =>
    line.map((text, column) => (isNumber[column] ? text.padStart(widths[column]!) : text.padEnd(widths[column]!))).join('   '),
  )
  const rule = widths.map((width) => '─'.repeat(width)).join('   ')
  return [aligned[0], rule, ...aligned.slice(1)].map((line) => line!.trimEnd()).join('\n')
}

/** `x min` and `x max` stand in the cell of `x`. */
function isBound(name: string, row: Row): boolean {
  const [, of] = /^(.+) (?:min|max)$/.exec(name) ?? []
  return of !== undefined && of in row
}

function cell(row: Row, name: string): string {
  const value = row[name]
  const [low, high] = [row[`${name} min`], row[`${name} max`]]
  if (value === undefined) return ''
  const shown = numeral(value)
  return low === undefined || high === undefined || low === high ? shown : `${shown} (${numeral(low)}–${numeral(high)})`
}

function numeral(value: string | number): string {
  return typeof value === 'number' && Math.abs(value) >= 10_000
    ? value.toLocaleString('en-GB').replaceAll(',', ' ')
    : String(value)
}

/** The whole report but for the machine, which was told before. */
export function report({ versions = {}, postgres = {}, settings, rows, notes = [] }: Result): string {
  const pairs = (title: string, of: Readonly<Record<string, unknown>>): string[] => {
    const told = Object.entries(of).map(([name, value]) => `${name} ${String(value)}`)
    return told.length === 0 ? [] : [`${title}: ${told.join(', ')}`]
  }
  return [
    ...pairs('versions', versions),
    ...pairs('server', postgres),
    ...pairs('settings', settings),
    '',
    tableOf(rows),
    ...(notes.length === 0 ? [] : ['', ...notes.map((note) => `- ${note}`)]),
    '',
  ].join('\n')
}
