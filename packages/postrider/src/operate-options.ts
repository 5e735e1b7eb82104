import type { Command } from 'commander'
import { withActor } from './actor.ts'
import { rate } from './filter.ts'
import { withDatabase, type DatabaseFlags } from './options.ts'

/** What every command takes that starts an operation. */
export interface OperateFlags extends DatabaseFlags {
  readonly dryRun?: true
  readonly yes?: true
  readonly wait?: true
  readonly rate?: number
  readonly reason?: string
  readonly actor?: string
  readonly quiet?: true
}

/** `--dry-run`, `--yes`, `--wait`, `--rate`, `--reason`, `--actor`, and those of a database. */
export function withOperation(command: Command): Command {
  return withActor(
    withDatabase(command)
      .option('--dry-run', 'only say how many it concerns, with a sample')
      .option('-y, --yes', 'do not ask')
      .option('--wait', 'wait for the end, and show the progress')
      .option('--rate <rate>', 'no faster than this, such as 100/s', rate)
      .option('--reason <text>', 'why; kept in the audit trail'),
  )
}
