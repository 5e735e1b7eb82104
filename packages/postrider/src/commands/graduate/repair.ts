import type { Command } from 'commander'
import { withOperation, type OperateFlags } from '../../operate-options.ts'

export function addRepair(command: Command): void {
  withOperation(command.command('repair'))
    .description('send once more to a Kafka sink what the last comparison has found missing; marked as a replay')
    .option('--to <sink>', 'the Kafka sink (default: the only one of the configuration)')
    .action(async (flags: OperateFlags & { readonly to?: string }) =>
      (await import('../../run/graduate/repair.ts')).repair(flags),
    )
}
