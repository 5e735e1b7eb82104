import type { Command } from 'commander'
import { filterOf, mustChoose, withDeliveryFilter, withIds, type FilterFlags } from '../filter.ts'
import { withOperation, type OperateFlags } from '../operate-options.ts'

type RetryFlags = OperateFlags & FilterFlags & { readonly all?: true }

/** `postrider retry`, and the same under another command. */
export function addRetry(parent: Command): void {
  withOperation(withDeliveryFilter(withIds(parent.command('retry'))))
    .description('send dead letters again, with the same id and a fresh count of attempts')
    .option('--all', 'every dead letter there is now')
    .action(async (ids: readonly string[] | undefined, flags: RetryFlags, command: Command) => {
      const filter = filterOf(flags, ids)
      mustChoose(command, filter, flags.all === true, '--sink or --code')
      const { operate } = await import('../run/operate.ts')
      await operate({ kind: 'retry', filter, sink: null, asNew: false }, flags)
    })
}
