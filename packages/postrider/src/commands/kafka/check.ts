import type { Command } from 'commander'
import { pointInTime } from '../../filter.ts'
import { collect, wholeNumber, withDatabase } from '../../options.ts'
import type { CheckFlags } from '../../run/kafka/check.ts'

export function addCheck(command: Command): void {
  withDatabase(command.command('check'))
    .description('whether the cluster will take what the sink sends; changes nothing; exits with 4 when something is wrong')
    .argument('[sink]', 'its name (default: the only Kafka sink of the configuration)')
    .option('--canary <topic>', 'write a record to this topic and read it back; consumers see it')
    .option('--simulate <time>', 'show instead where the keys of the log since then would go: 24h, 7d, a time', pointInTime)
    .option(
      '--partitions <n>',
      'of --simulate: with so many partitions (may be repeated; default: 6, 12 and 24)',
      collect(wholeNumber(1, 1_000)),
    )
    .action(async (sink: string | undefined, flags: CheckFlags, command: Command) => {
      if (flags.partitions !== undefined && flags.simulate === undefined)
        command.error('error: --partitions goes with --simulate')
      await (await import('../../run/kafka/check.ts')).check(sink, flags)
    })
}
