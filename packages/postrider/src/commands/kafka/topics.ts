import { InvalidArgumentError, type Command } from 'commander'
import { collect, wholeNumber, withDatabase } from '../../options.ts'
import type { TopicFlags } from '../../run/kafka/topics.ts'

export function addTopics(command: Command): void {
  const topics = command.command('topics').description('the topics that the log and the configuration need')
  withTopics(topics.command('plan'))
    .description('which there are, and which apply would create; changes nothing')
    .action(async (sink: string | undefined, flags: TopicFlags) => (await import('../../run/kafka/topics.ts')).plan(sink, flags))
  withTopics(topics.command('apply'))
    .description('create the topics that are missing; those that are there stay as they are')
    .option('-y, --yes', 'do not ask')
    .action(async (sink: string | undefined, flags: TopicFlags) => (await import('../../run/kafka/topics.ts')).apply(sink, flags))
}

function withTopics(command: Command): Command {
  return withDatabase(command)
    .argument('[sink]', 'its name (default: the only Kafka sink of the configuration)')
    .option('--partitions <n>', 'of a topic that is created', wholeNumber(1, 10_000), 12)
    .option('--replication <n>', 'of a topic that is created (default: that of the cluster)', wholeNumber(1, 100))
    .option(
      '--set <name=value>',
      'a setting of a topic that is created, such as retention.ms=604800000 (may be repeated)',
      collect(setting),
    )
}

/** `retention.ms=604800000`. */
function setting(text: string): [string, string] {
  const [, name = '', value = ''] = /^([a-z0-9.]+)=(.+)$/.exec(text) ?? []
  if (name === '') throw new InvalidArgumentError('Expected a setting of a topic, such as retention.ms=604800000.')
  return [name, value]
}
