import { InvalidArgumentError, type Command } from 'commander'
import { pointInTime } from '../filter.ts'
import { collect, wholeNumber, withDatabase } from '../options.ts'
import type { TailFlags } from '../run/tail.ts'

const outcomes = ['delivered', 'retry', 'throttled', 'reject', 'gone', 'retried', 'discarded', 'expired']

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
    .action(async (flags: TailFlags) => (await import('../run/tail.ts')).tail(flags))
}

function outcome(text: string): string {
  if (!outcomes.includes(text)) throw new InvalidArgumentError(`Expected one of ${outcomes.join(', ')}.`)
  return text
}
