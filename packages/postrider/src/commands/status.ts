import type { Command } from 'commander'
import { seconds, withDatabase } from '../options.ts'
import type { StatusFlags } from '../run/status.ts'

export function addStatus(program: Command): void {
  withDatabase(program.command('status'))
    .description('sinks with their state, backlog and dead letters, and the relays that live')
    .option(
      '-w, --watch [seconds]',
      'again and again until Ctrl-C; with --json a line each time (default: 2)',
      seconds(0.5, 3_600),
    )
    .action(async (flags: StatusFlags) => (await import('../run/status.ts')).status(flags))
}
