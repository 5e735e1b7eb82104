import type { Command } from 'commander'
import { rate } from '../../filter.ts'
import { withDatabase } from '../../options.ts'
import type { AssessFlags } from '../../run/graduate/assess.ts'

export function addAssess(command: Command): void {
  withDatabase(command.command('assess'))
    .description(
      'whether Kafka is warranted, for each kind of event: stay, prepare or graduate, with the figures and what would be cheaper',
    )
    .option('--capacity <rate>', 'what this database was measured to take, such as 10000/s', rate)
    .option('--explain', 'print the queries behind the figures instead of asking them')
    .action(async (flags: AssessFlags) => (await import('../../run/graduate/assess.ts')).run(flags))
}
