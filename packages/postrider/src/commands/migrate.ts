import type { Command } from 'commander'
import { withDatabase } from '../options.ts'
import { addSegments } from './segments.ts'
import type { MigrateFlags } from '../run/migrate.ts'

export function addMigrate(program: Command): void {
  const command = program.command('migrate').description('the tables of Postrider')
  withDatabase(command.command('up'))
    .description('apply what is pending; safe to run twice, and from two machines at once')
    .option('--roles', 'also create the roles postrider_writer, postrider_relay and postrider_viewer')
    .action(async (flags: MigrateFlags) => (await import('../run/migrate.ts')).up(flags))
  withDatabase(command.command('status'))
    .description('every migration, and when it was applied')
    .option('--check', 'exit with 4 when one is pending')
    .action(async (flags: MigrateFlags) => (await import('../run/migrate.ts')).status(flags))
  withDatabase(command.command('plan'))
    .description('what `up` would apply now')
    .option('--sql', 'print the SQL instead of the names')
    .option('--roles', 'with the roles and their grants (needs --sql)')
    .option('--offline', 'as on an empty database, without a connection (needs --sql)')
    .action(async (flags: MigrateFlags, command: Command) => {
      if (!flags.sql && (flags.offline || flags.roles)) command.error('error: --offline and --roles need --sql')
      await (await import('../run/migrate.ts')).plan(flags)
    })
  addSegments(command)
}
