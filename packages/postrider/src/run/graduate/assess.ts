import { loadDatabase } from '../../config/load.ts'
import { openDatabase } from '../../connect.ts'
import { assess, queryNames, queryOf } from '../../graduate/assess.ts'
import { wordAssessment } from '../../graduate/word-assessment.ts'
import type { DatabaseFlags } from '../../options.ts'
import { print, printJson, say } from '../../print.ts'

export interface AssessFlags extends DatabaseFlags {
  readonly capacity?: number
  readonly explain?: true
}

export async function run(flags: AssessFlags): Promise<void> {
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
