import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { road, type Fault } from './fault.ts'
import type { Result } from './run.ts'

const page = join(import.meta.dirname, '..', '..', 'docs', 'proofs.md')
export const marks = {
  faults: { begin: '<!-- faults -->', end: '<!-- /faults -->' },
  results: { begin: '<!-- results -->', end: '<!-- /results -->' },
} as const

/** Puts the faults and the table of runs into docs/proofs.md, from the JSON of the runs, one line for each. */
export async function publish(lines: string, catalogue: readonly Fault[]): Promise<void> {
  const results = lines
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => JSON.parse(line) as Result)
  let text = await readFile(page, 'utf8')
  text = between(text, marks.faults, faultsTable(catalogue))
  if (results.length > 0) text = between(text, marks.results, `${summaryOf(results)}\n\n${tableOf(results, catalogue)}`)
  await writeFile(page, text)
}

function between(text: string, { begin, end }: { readonly begin: string; readonly end: string }, middle: string): string {
  const [before, after] = [text.indexOf(begin), text.indexOf(end)]
  if (before === -1 || after < before) throw new Error(`${page} has no place between ${begin} and ${end}`)
  return `${text.slice(0, before)}${begin}\n\n${middle}\n\n${text.slice(after)}`
}

export function faultsTable(catalogue: readonly Fault[]): string {
  const rows = catalogue.map(({ name, does, attacks }) => [`\`${name}\``, does, attacksOf(attacks)])
  return alignedTable([['fault', 'does', 'attacks, beside the road'], ...rows])
}

/** Every fault attacks the promises of the road; what it attacks besides. */
function attacksOf(attacks: Fault['attacks']): string {
  return attacks.filter((one) => !road.includes(one)).join(', ')
}

const number = (value: number): string => value.toLocaleString('en-GB')

function summaryOf(results: readonly Result[]): string {
  const sum = (of: (result: Result) => number): string => number(results.reduce((total, result) => total + of(result), 0))
  const seeds = results.map(({ seed }) => seed)
  const brokenRuns = results.filter(({ broken }) => broken.length > 0).length
  return [
    `${number(results.length)} runs, seeds ${Math.min(...seeds)} to ${Math.max(...seeds)}:`,
    `${sum(({ committed }) => committed)} events committed, ${sum(({ rolledBack }) => rolledBack)} rolled back,`,
    `${sum(({ receipts }) => receipts)} received, ${sum(({ deaths }) => deaths)} relays died,`,
    `${sum(({ takeovers }) => takeovers)} lanes were taken over. Runs that broke a promise: ${brokenRuns}.`,
  ].join(' ')
}

const columns: readonly (readonly [head: string, cell: (of: readonly Result[]) => string])[] = [
  ['runs', (of) => number(of.length)],
  ['seeds', (of) => `${Math.min(...of.map(({ seed }) => seed))}–${Math.max(...of.map(({ seed }) => seed))}`],
  ['lost', count(({ verdict }) => verdict?.lost)],
  ['phantom', count(({ verdict }) => verdict?.phantom)],
  ['out of order', count(({ verdict }) => verdict?.outOfOrder)],
  ['other bytes or id', count(({ verdict }) => [...(verdict?.wrongBytes ?? []), ...(verdict?.changedId ?? [])])],
  ['early', count(({ verdict }) => verdict?.early)],
  ['stale writes', count(({ stale }) => stale)],
  ['most repeats', worstRepeats],
  ['slowest back', slowest(({ backMs }) => backMs)],
  ['longest wait', slowest(({ longestMs }) => longestMs)],
]

export function tableOf(results: readonly Result[], catalogue: readonly Fault[]): string {
  const of = Map.groupBy(results, ({ fault }) => fault)
  const rows = catalogue
    .filter(({ name }) => of.has(name))
    .map(({ name }) => [`\`${name}\``, ...columns.map(([, cell]) => cell(of.get(name) ?? []))])
  return alignedTable([['fault', ...columns.map(([head]) => head)], ...rows])
}

/** A table whose columns are as wide as their widest cell, as the formatter wants it. */
export function alignedTable(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, nr) => Math.max(3, ...rows.map((row) => row[nr]?.length ?? 0)))
  const line = (cells: readonly string[]): string => `| ${cells.map((cell, nr) => cell.padEnd(widths[nr] ?? 0)).join(' | ')} |`
  const [head = [], ...rest] = rows
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rest.map(line)].join('\n')
}

function count(listOf: (result: Result) => readonly string[] | undefined): (of: readonly Result[]) => string {
  return (of) => number(of.reduce((sum, result) => sum + (listOf(result)?.length ?? 0), 0))
}

/** Of the run with the most, and what the promise allowed it. */
function worstRepeats(of: readonly Result[]): string {
  const [worst] = of.flatMap(({ verdict }) => verdict ?? []).toSorted((a, b) => b.repeats - a.repeats)
  return worst === undefined ? '–' : `${number(worst.repeats)} of ${number(worst.bound)}`
}

function slowest(timeOf: (result: Result) => number | null): (of: readonly Result[]) => string {
  return (of) => {
    const times = of.flatMap((result) => timeOf(result) ?? [])
    return times.length === 0 ? '–' : `${(Math.max(...times) / 1_000).toFixed(1)} s`
  }
}
