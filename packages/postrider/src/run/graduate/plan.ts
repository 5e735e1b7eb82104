import { openDatabase } from '../../connect.ts'
import { planGraduation, wordDays, type Plan, type PlannedTopic } from '../../graduate/plan.ts'
import { chooseTarget, loadTargets } from '../../kafka/target.ts'
import type { DatabaseFlags } from '../../options.ts'
import { print, printJson, say, style } from '../../print.ts'
import { wordBytes, wordDuration } from '../../table.ts'

export interface PlanFlags extends DatabaseFlags {
  readonly to?: string
  readonly rate: number
}

export async function run(flags: PlanFlags): Promise<void> {
  const { settings, targets } = await loadTargets(flags)
  if (targets.size === 0) {
    if (flags.json) return printJson({ toSink: null, addition })
    print(`There is no Kafka sink in the configuration yet. It takes these lines, and no change of a producer:\n\n${addition}`)
    return say('Then plan again: postrider graduate plan')
  }
  const target = chooseTarget(targets, flags.to)
  await using database = openDatabase(settings, 'graduate plan')
  const { openKafkaAdmin } = await import('@postrider/kafka')
  await using admin = await openKafkaAdmin(target.connection)
  const plan = await planGraduation(target, flags.rate, database, settings.schema, (topic) => admin.describeTopic(topic))
  if (flags.json) printJson(plan)
  else show(plan)
}

const addition = `sinks:
  main-kafka:
    kind: kafka
    mode: shadow
    brokers: ['kafka-1.example.com:9092']
    source: shop/orders
    startFrom: beginning
`

function show(plan: Plan): void {
  const { toSink, running, events, bytes, counted, oldest, rate: perSecond, backfillDays, topics, unreachable, candidates } = plan
  const about = counted ? '' : 'about '
  const age = oldest === null ? 'none is left' : `the oldest is ${wordDays(Date.now() - oldest.getTime())} old`
  print(`the log holds ${about}${events.toLocaleString('en')} events for ${toSink}, ${about}${wordBytes(bytes)}; ${age}`)
  print(`at ${perSecond.toLocaleString('en')}/s that is a backfill of ${wordDuration(backfillDays * 86_400_000)}`)
  print('')
  const steps = [
    ...(topics?.some(({ exists }) => !exists) ? [`postrider kafka topics apply ${toSink}`] : []),
    `postrider kafka check ${toSink}`,
    ...(running ? [] : [`restart the relays: they bring ${toSink}, and it begins with the backfill`]),
    `postrider status --watch, until ${toSink} has nothing pending`,
    ...candidates.slice(0, 3).map((sink) => `postrider graduate verify --to ${toSink} --sink ${sink} --watch`),
    ...candidates
      .slice(0, 3)
      .map((sink) => `postrider graduate cutover --sink ${sink} --to ${toSink} --type '…' --consumer <group>`),
    'postrider graduate status',
  ]
  for (const [nth, step] of steps.entries()) print(`${String(nth + 1).padStart(2)}  ${step}`)
  if (candidates.length > 3) print(`    and so on for ${candidates.slice(3).join(', ')}`)
  if (topics === null) return say(`The cluster could not be asked: ${unreachable}`)
  print('')
  for (const topic of topics) print(`topic ${topic.name}: ${wordTopic(topic, oldest)}`)
}

function wordTopic({ exists, partitions, retentionMs, losesOldest }: PlannedTopic, oldest: Date | null): string {
  if (!exists) return style('yellow', 'is missing')
  const kept = retentionMs === null ? 'keeps for ever, or as its cluster says' : `keeps ${wordDays(retentionMs)}`
  const loss =
    losesOldest && oldest !== null
      ? style(
          'red',
          '; the oldest events would be deleted at once: raise retention.ms, or set message.timestamp.type=LogAppendTime until all is proven',
        )
      : ''
  return `${partitions} partitions, ${kept}${loss}`
}
