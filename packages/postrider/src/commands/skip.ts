import type { Command } from 'commander'
import { filterOf, mustChoose, withDeliveryFilter, withIds, words, type FilterFlags } from '../filter.ts'
import { withOperation, type OperateFlags } from '../operate-options.ts'

type SkipFlags = OperateFlags & FilterFlags & { readonly all?: true }

const waiting = ['scheduled', 'retrying', 'blocked']

export function addSkip(program: Command): void {
  const command = withOperation(withDeliveryFilter(withIds(program.command('skip'))))
    .description('give up deliveries that wait (scheduled, retrying, blocked); later events of their keys go on')
    .option('--state <states>', 'only scheduled, retrying, blocked (joined by commas)', words)
    .option('--all', 'everything that waits now')
    .action(async (ids: readonly string[] | undefined, flags: SkipFlags) => {
      const filter = filterOf(flags, ids)
      mustChoose(command, filter, flags.all === true, '--sink or --key')
      if (flags.reason === undefined) command.error("error: required option '--reason <text>' not specified")
      const { operate } = await import('../run/operate.ts')
      await operate({ kind: 'skip', filter: flags.all ? { state: waiting, ...filter } : filter, sink: null, asNew: false }, flags)
    })
}
