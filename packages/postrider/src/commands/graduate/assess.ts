import type { Command } from 'commander'
import { loadDatabase } from '../../config/load.ts'
import { openDatabase } from '../../connect.ts'
import { rate } from '../../filter.ts'
import { assess, queryNames, queryOf } from '../../graduate/assess.ts'
import { wordAssessment } from '../../graduate/word-assessment.ts'
import { withDatabase, type DatabaseFlags } from '../../options.ts'
import { print, printJson, say } from '../../print.ts'

interface AssessFlags extends DatabaseFlags {
  readonly capacity?: number
  readonly explain?: true
}

export function addAssess(command: Command): void {
  withDatabase(command.command('assess'))
    .description(
      'whether Kafka is warranted, for each kind of event: stay, prepare or graduate, with the figures and what would be cheaper',
    )
    .option('--capacity <rate>', 'what this database was measured to take, such as 10000/s', rate)
    .option('--explain', 'print the queries behind the figures instead of asking them')
    .action(run)
}

async function run(flags: AssessFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  if (flags.explain) {
    const queries = queryNames.map((name) => [name, queryOf(name, settings.schema)] as const)
    return flags.json ? printJson(Object.fromEntries(queries)) : print(queries.map(([, text]) => `${text};`).join('\n\n'))
  }
  await using database = openDatabase(settings, 'graduate assess')
  const found = await assess(flags.capacity ?? null, { database, schema: settings.schema })
  if (flags.json) return printJson({ capacity: flags.capacity ?? null, assessments: found })
  if (found.length === 0) return say('The log is empty: there is nothing to assess.')
  print(found.map(wordAssessment).join('\n\n'))
}
