import type { Command } from 'commander'
import { filterOf, mustChoose, withEventFilter, withIds, type FilterFlags } from '../filter.ts'
import { withOperation, type OperateFlags } from '../operate-options.ts'

type ReplayFlags = OperateFlags & FilterFlags & { readonly sink: string; readonly asNew?: true; readonly all?: true }

export function addReplay(program: Command): void {
  withOperation(withEventFilter(withIds(program.command('replay'))))
    .description('send events of the log once more to a sink, delivered ones too; in order, those that the sink takes')
    .requiredOption('--sink <name>', 'where they go')
    .option('--as-new', 'with new ids, so that a receiver does not take them for repeats')
    .option('--all', 'the whole log')
    .action(async (ids: readonly string[] | undefined, flags: ReplayFlags, command: Command) => {
      const filter = filterOf(flags, ids)
      mustChoose(command, filter, flags.all === true, '--since or --type')
      const { operate } = await import('../run/operate.ts')
      await operate({ kind: 'replay', filter, sink: flags.sink, asNew: flags.asNew === true }, flags)
    })
}
