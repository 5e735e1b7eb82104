import type { Command } from 'commander'
import { withDatabase, type DatabaseFlags } from '../../options.ts'

export function addList(command: Command): void {
  withDatabase(command.command('list'))
    .description('the endpoints, and how they are')
    .argument('[sink]', 'only of this sink')
    .option('--state <state>', 'only in this state: pending, active, degraded, paused, disabled or gone')
    .option('--tenant <tenant>', 'only those of this tenant')
    .action(async (sink: string | undefined, flags: DatabaseFlags & { readonly state?: string; readonly tenant?: string }) =>
      (await import('../../run/endpoints/list.ts')).list(sink, flags),
    )
}
