import { openDatabase } from '../../connect.ts'
import { openStream } from '../../graduate/open-stream.ts'
import { readSteps, type Stage, type Step } from '../../graduate/status.ts'
import type { Stream } from '../../graduate/stream.ts'
import { loadTargets } from '../../kafka/target.ts'
import type { DatabaseFlags } from '../../options.ts'
import { plain, print, printJson, say, style } from '../../print.ts'
import { renderTable } from '../../table.ts'

export async function status(sink: string | undefined, flags: DatabaseFlags): Promise<void> {
  const { settings, targets } = await loadTargets(flags)
  await using opened = new AsyncDisposableStack()
  const database = opened.use(openDatabase(settings, 'graduate status'))
  const streams = new Map<string, Stream>()
  for (const [name, target] of targets) streams.set(name, opened.use(await openStream(target)))
  const steps = await readSteps({ database, schema: settings.schema }, streams, sink ?? null)
  if (flags.json) return printJson({ steps })
  if (steps.length === 0) {
    return say(
      sink === undefined ? 'No sink has been seen yet. A relay brings its sinks: postrider start' : `There is no sink ${sink}.`,
    )
  }
  print(
    renderTable(steps, [
      { title: 'stage', cell: ({ stage, finished }) => style(colours[stage], finished ? `${stage}, finished` : stage) },
      { title: 'sink', cell: ({ sink }) => sink },
      { title: 'types', cell: ({ types }) => types?.join(', ') ?? 'all' },
      { title: 'to', cell: ({ toSink }) => toSink ?? '-' },
      { title: 'consumer', cell: ({ consumer }) => plain(consumer ?? '-') },
      { title: 'behind', align: 'right', cell: ({ behind }) => (behind === null ? '-' : Number(behind).toLocaleString('en')) },
      { title: 'cutover', align: 'right', cell: ({ cutover }) => cutover ?? '-' },
      { title: 'in the way', cell: wordGates },
    ]),
  )
}

const colours = {
  webhook: 'dim',
  shadow: 'yellow',
  proven: 'green',
  switching: 'magenta',
  kafka: 'green',
} as const satisfies Record<Stage, string>

function wordGates({ gates }: Step): string {
  const closed = gates.filter(({ open }) => !open)
  return closed.length === 0 ? '-' : plain(closed.map(({ gate, detail }) => `${gate}: ${detail}`).join('; '))
}
