import type { Command } from 'commander'
import { withActor } from '../../actor.ts'
import { standardGates } from '../../graduate/standard-gates.ts'
import { collect, duration, wait, wholeNumber, withDatabase } from '../../options.ts'
import type { CutoverFlags } from '../../run/graduate/cutover.ts'

export function addCutover(command: Command): void {
  withActor(withDatabase(command.command('cutover')))
    .description(
      'move the consumer of some event types from a sink to a Kafka sink: nothing is left out; run it again to go on with one that was interrupted',
    )
    .requiredOption('--sink <name>', 'the sink that delivers to it now')
    .requiredOption('--type <filter>', 'the event types: order.*, order.** (may be repeated)', collect(String))
    .requiredOption('--consumer <group>', 'the group that will read them')
    .option('--to <sink>', 'the Kafka sink (default: the only one of the configuration)')
    .option('--max-age <time>', 'refuse when the last comparison is older', duration, standardGates.maxAgeMs)
    .option(
      '--min-events <n>',
      'refuse when comparisons of that age cover fewer',
      wholeNumber(0, 1_000_000_000),
      standardGates.minEvents,
    )
    .option('--new-group', 'the group has never read there')
    .option('--force', 'though gates are closed; needs --reason, and is recorded')
    .option('--reason <text>', 'why; kept in the record')
    .option('--deadline <time>', 'how long both sinks may take to do what was committed before (default: 1m)', wait)
    .option('-y, --yes', 'do not ask')
    .action(async (flags: CutoverFlags, command: Command) => {
      if (flags.force && (flags.reason ?? '') === '') command.error('error: --force needs --reason')
      await (await import('../../run/graduate/cutover.ts')).run(flags)
    })
}
