import { InvalidArgumentError, type Command } from 'commander'
import { loadDatabase } from '../config/load.ts'
import { openDatabase } from '../connect.ts'
import { pointInTime } from '../filter.ts'
import { Tail, type Tailed } from '../inspect/attempts.ts'
import { Lines } from '../inspect/word-tail.ts'
import { collect, wholeNumber, withDatabase, type DatabaseFlags } from '../options.ts'
import { print, printJson } from '../print.ts'
import { watch } from '../watch.ts'

interface TailFlags extends DatabaseFlags {
  readonly follow?: true
  readonly events?: true
  readonly sink?: string
  readonly type?: readonly string[]
  readonly key?: string
  readonly outcome?: readonly string[]
  readonly since?: string
  readonly lines: number
}

const outcomes = ['delivered', 'retry', 'throttled', 'reject', 'gone', 'retried', 'discarded', 'expired']
/** Between two looks, and never more than a tenth of the time is spent looking. */
const leastMs = 500
const restFor = 9

export function addTail(program: Command): void {
  withDatabase(program.command('tail'))
    .description('attempts as they are made; lines of JSON when not on a terminal')
    .option('-f, --follow', 'go on until Ctrl-C')
    .option('--events', 'with --follow: also events, when they are written')
    .option('--sink <name>', 'only at this sink; of one with endpoints, at all of them')
    .option('--type <filter>', 'only of these types: order.*, order.** (may be repeated)', collect(String))
    .option('--key <key>', 'only of this key')
    .option('--outcome <outcome>', `only with this outcome (may be repeated): ${outcomes.join(', ')}`, collect(outcome))
    .option('--since <time>', 'from then on: 2026-01-31T08:30:00Z, or 2h for two hours ago', pointInTime)
    .option('-n, --lines <n>', 'begin with the last so many', wholeNumber(0, 10_000), 20)
    .action(tail)
}

async function tail(flags: TailFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'tail')
  const { sink = null, type: types = null, key = null, outcome: outcomes = null, since } = flags
  const reader = new Tail(database, settings.schema, { sink, types, key, outcomes }, { events: flags.events === true })
  const show = printer(flags)
  if (since === undefined) show(await reader.newest(flags.lines))
  else for await (const page of reader.since(since)) show(page)
  if (!flags.follow) return
  await watch(async (signal) => {
    const began = performance.now()
    for await (const page of reader.news()) {
      show(page)
      if (signal.aborted) break
    }
    return Math.max(leastMs, (performance.now() - began) * restFor)
  })
}

function printer({ json }: TailFlags): (rows: readonly Tailed[]) => void {
  if (json || !process.stdout.isTTY) return (rows) => rows.forEach((row) => printJson(row))
  const lines = new Lines()
  return (rows) => rows.forEach((row) => print(lines.word(row)))
}

function outcome(text: string): string {
  if (!outcomes.includes(text)) throw new InvalidArgumentError(`Expected one of ${outcomes.join(', ')}.`)
  return text
}
