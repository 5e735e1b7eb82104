import { debeziumConfig, type DebeziumConfig } from '../../graduate/debezium.ts'
import { chooseTarget, loadTargets } from '../../kafka/target.ts'
import type { DatabaseFlags } from '../../options.ts'
import { print, printJson, say } from '../../print.ts'

export async function run(sink: string | undefined, flags: DatabaseFlags): Promise<void> {
  const { settings, targets } = await loadTargets(flags)
  const config = debeziumConfig(chooseTarget(targets, sink), settings)
  if (flags.json) return printJson(config)
  show(config)
}

function show({ connector, statements, steps, differences }: DebeziumConfig): void {
  print(JSON.stringify(connector, null, 2))
  say('')
  say('Before it starts, as a superuser or the owner of the table:')
  for (const statement of statements) say(`  ${statement}`)
  say('')
  for (const [nth, step] of steps.entries()) say(`${nth + 1}. ${step}`)
  say('')
  say('What is not the same:')
  for (const difference of differences) say(`- ${difference}`)
}
