import type { Command } from 'commander'
import { withDatabase, type DatabaseFlags } from '../../options.ts'

export function addDebeziumConfig(command: Command): void {
  withDatabase(command.command('debezium-config'))
    .description('the configuration of a Debezium connector that goes on where a Kafka sink ends: same table, same topics')
    .argument('[sink]', 'its name (default: the only Kafka sink of the configuration)')
    .action(async (sink: string | undefined, flags: DatabaseFlags) =>
      (await import('../../run/graduate/debezium-config.ts')).run(sink, flags),
    )
}
