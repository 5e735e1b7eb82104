import { loadDatabase } from '../config/load.ts'
import { openDatabase } from '../connect.ts'
import type { DatabaseFlags } from '../options.ts'
import { print, printJson, say } from '../print.ts'
import { openScreen } from '../screen.ts'
import { readStatus, type Status } from '../status.ts'
import { watch } from '../watch.ts'
import { advise, wordStatus } from '../word-status.ts'

export interface StatusFlags extends DatabaseFlags {
  /** In ms; true: the default. */
  readonly watch?: number | true
}

const watchMs = 2_000
/** Rows of a screen that are no sinks: titles, relays, what to do. */
const otherRows = 8

export async function status(flags: StatusFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using database = openDatabase(settings, 'status')
  if (flags.watch === undefined) {
    const now = await readStatus(database, settings.schema)
    if (flags.json) printJson(now)
    else show(now)
    return
  }
  const everyMs = flags.watch === true ? watchMs : flags.watch
  using screen = openScreen(process.stdout)
  await watch(async () => {
    const now = await readStatus(database, settings.schema)
    if (flags.json) printJson({ at: new Date(), ...now })
    else screen.draw([...wordStatus(now, screen.rows - otherRows - now.relays.length).split('\n'), '', ...advise(now)])
    return everyMs
  })
}

function show(now: Status): void {
  if (now.sinks.length === 0) {
    say(`The schema "${now.schema}" is there, and no sink has been seen yet. A relay brings its sinks: postrider start`)
    return
  }
  print(wordStatus(now))
  for (const advice of advise(now)) say(advice)
}
