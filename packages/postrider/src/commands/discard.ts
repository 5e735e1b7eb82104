import type { Command } from 'commander'
import { filterOf, mustChoose, withDeliveryFilter, withIds, words, type FilterFlags } from '../filter.ts'
import { withOperation, type OperateFlags } from '../operate-options.ts'

type DiscardFlags = OperateFlags & FilterFlags & { readonly all?: true }

/** `postrider discard`. Under `postrider dead` the state is not asked for. */
export function addDiscard(parent: Command, onlyDead = false): void {
  const command = withOperation(withDeliveryFilter(withIds(parent.command('discard'))))
    .description(
      onlyDead
        ? 'give dead letters up; later events of their keys go on'
        : 'give deliveries up, in any state (by itself: dead); later events of their keys go on',
    )
    .option('--all', 'every dead letter there is now')
  if (!onlyDead) command.option('--state <states>', 'dead, retrying, blocked, scheduled (joined by commas)', words)
  command.action(async (ids: readonly string[] | undefined, flags: DiscardFlags) => {
    const filter = filterOf(flags, ids)
    mustChoose(command, filter, flags.all === true, '--sink or --code')
    if (flags.reason === undefined) command.error("error: required option '--reason <text>' not specified")
    const { operate } = await import('../run/operate.ts')
    // An empty filter is refused: `--all` says what is meant.
    await operate(
      { kind: 'discard', filter: flags.all ? { state: ['dead'], ...filter } : filter, sink: null, asNew: false },
      flags,
    )
  })
}
