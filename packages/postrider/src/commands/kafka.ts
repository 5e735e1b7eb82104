import type { Command } from 'commander'
import { addCheck } from './kafka/check.ts'
import { addTopics } from './kafka/topics.ts'

export function addKafka(program: Command): void {
  const command = program.command('kafka').description('the cluster of a Kafka sink')
  for (const add of [addCheck, addTopics]) add(command)
}
