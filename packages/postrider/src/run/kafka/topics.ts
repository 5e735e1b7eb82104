import type { KafkaAdmin } from '@postrider/kafka'
import { confirm } from '../../confirm.ts'
import { openDatabase } from '../../connect.ts'
import { chooseTarget, loadTargets } from '../../kafka/target.ts'
import { readFacts, type NeededTopic } from '../../kafka/topics.ts'
import type { DatabaseFlags } from '../../options.ts'
import { print, printJson, say, style } from '../../print.ts'
import { renderTable } from '../../table.ts'

export interface TopicFlags extends DatabaseFlags {
  readonly partitions: number
  readonly replication?: number
  readonly set?: readonly (readonly [name: string, value: string])[]
  readonly yes?: true
}

interface Planned extends NeededTopic {
  /** Null: it is missing. */
  readonly there: { readonly partitions: number; readonly replication: number } | null
}

export async function plan(sink: string | undefined, flags: TopicFlags): Promise<void> {
  await withPlan(sink, flags, async (planned) => {
    if (flags.json) return printJson({ topics: planned })
    show(planned, flags)
    if (planned.some(({ there }) => there === null))
      say('Create what is missing: postrider kafka topics apply, with the same flags')
  })
}

export async function apply(sink: string | undefined, flags: TopicFlags): Promise<void> {
  await withPlan(sink, flags, async (planned, admin) => {
    const missing = planned.filter(({ there }) => there === null)
    if (!flags.json) show(planned, flags)
    if (missing.length > 0) {
      const names = missing.map(({ name }) => name).join(', ')
      await confirm(
        `Create ${names} with ${flags.partitions} partitions each? Their number decides where keys go, so it is to last.`,
        flags.yes === true,
      )
    }
    const created: string[] = []
    for (const { name } of missing) {
      const { partitions, replication } = flags
      const answer = await admin.createTopic({
        name,
        partitions,
        ...(replication !== undefined && { replication }),
        configs: Object.fromEntries(flags.set ?? []),
      })
      if (answer === 'created') created.push(name)
    }
    if (flags.json) return printJson({ topics: planned, created })
    say(created.length === 0 ? 'Nothing was missing.' : `created ${created.join(', ')}`)
  })
}

async function withPlan(
  sink: string | undefined,
  flags: TopicFlags,
  work: (planned: readonly Planned[], admin: KafkaAdmin) => Promise<void>,
): Promise<void> {
  const { settings, targets } = await loadTargets(flags)
  const target = chooseTarget(targets, sink)
  await using database = openDatabase(settings, 'kafka topics')
  const { topics, unnamed } = await readFacts(database, settings.schema, target)
  const { openKafkaAdmin } = await import('@postrider/kafka')
  await using admin = await openKafkaAdmin(target.connection)
  const planned: Planned[] = []
  for (const topic of topics) {
    const found = await admin.describeTopic(topic.name)
    planned.push({ ...topic, there: found && { partitions: found.partitions.length, replication: found.replication } })
  }
  for (const type of unnamed) say(`no legal name of a topic comes of the type ${type}: its events will be refused`)
  await work(planned, admin)
}

function show(planned: readonly Planned[], flags: TopicFlags): void {
  if (planned.length === 0) return say('Neither the log nor the configuration names a topic yet.')
  const wanted = `${flags.partitions} partitions, replication ${flags.replication ?? 'of the cluster'}`
  print(
    renderTable(planned, [
      { title: 'topic', cell: ({ name }) => name },
      {
        title: 'state',
        cell: ({ there }) =>
          there === null
            ? style('yellow', `missing: ${wanted}`)
            : `${there.partitions} partitions, replication ${there.replication}`,
      },
      { title: 'lately', align: 'right', cell: ({ events }) => events.toLocaleString('en') },
      {
        title: 'types',
        cell: ({ types }) =>
          types.length > 4 ? `${types.slice(0, 3).join(', ')} and ${types.length - 3} more` : types.join(', '),
      },
    ]),
  )
}
