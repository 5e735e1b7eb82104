import type { Command } from 'commander'
import { rate } from '../../filter.ts'
import { withDatabase } from '../../options.ts'
import type { PlanFlags } from '../../run/graduate/plan.ts'

export function addPlan(command: Command): void {
  withDatabase(command.command('plan'))
    .description(
      'the steps to Kafka with their numbers: what there is to backfill, how long that takes, what topics keep; changes nothing',
    )
    .option('--to <sink>', 'the Kafka sink (default: the only one of the configuration)')
    .option('--rate <rate>', 'at which the backfill is reckoned', rate, 1_000)
    .action(async (flags: PlanFlags) => (await import('../../run/graduate/plan.ts')).run(flags))
}
