import { loadDatabase } from '../config/load.ts'
import { openDatabase } from '../connect.ts'
import { Tail, type Tailed } from '../inspect/attempts.ts'
import { Lines } from '../inspect/word-tail.ts'
import type { DatabaseFlags } from '../options.ts'
import { print, printJson } from '../print.ts'
import { watch } from '../watch.ts'

export interface TailFlags extends DatabaseFlags {
  readonly follow?: true
  readonly events?: true
  readonly sink?: string
  readonly type?: readonly string[]
  readonly key?: string
  readonly outcome?: readonly string[]
  readonly since?: string
  readonly lines: number
}

/** Between two looks, and never more than a tenth of the time is spent looking. */
const leastMs = 500
const restFor = 9

export async function tail(flags: TailFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'tail')
  const { sink = null, type: types = null, key = null, outcome: outcomes = null, since } = flags
  const reader = new Tail(database, settings.schema, { sink, types, key, outcomes }, { events: flags.events === true })
  const show = printer(flags)
  if (since === undefined) show(await reader.newest(flags.lines))
  else for await (const page of reader.since(since)) show(page)
  if (!flags.follow) return
  await watch(async (signal) => {
    const began = performance.now()
    for await (const page of reader.news()) {
      show(page)
      if (signal.aborted) break
    }
    return Math.max(leastMs, (performance.now() - began) * restFor)
  })
}

function printer({ json }: TailFlags): (rows: readonly Tailed[]) => void {
  if (json || !process.stdout.isTTY) return (rows) => rows.forEach((row) => printJson(row))
  const lines = new Lines()
  return (rows) => rows.forEach((row) => print(lines.word(row)))
}
