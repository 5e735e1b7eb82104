import type { Command } from 'commander'
import type { ConfigFlags } from '../config/load.ts'
import { withDatabase } from '../options.ts'

export function addStart(program: Command): void {
  withDatabase(program.command('start'))
    .description('carry events to the sinks of the configuration, until SIGTERM or SIGINT')
    .option('--log-level <level>', 'debug, info, warn, error or silent')
    .action(async (flags: ConfigFlags) => (await import('../run/start.ts')).start(flags))
}
