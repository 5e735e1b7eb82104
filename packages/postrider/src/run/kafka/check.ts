import type { PreflightCheck } from '@postrider/kafka'
import { openDatabase } from '../../connect.ts'
import { exitCodes } from '../../exit.ts'
import { simulateLog, mostEvents, type Simulated } from '../../kafka/simulate.ts'
import { chooseTarget, loadTargets } from '../../kafka/target.ts'
import { readFacts } from '../../kafka/topics.ts'
import type { DatabaseFlags } from '../../options.ts'
import { plain, print, printJson, say, style } from '../../print.ts'
import { renderTable, wordBytes } from '../../table.ts'

export interface CheckFlags extends DatabaseFlags {
  readonly canary?: string
  readonly simulate?: string
  readonly partitions?: readonly number[]
}

const usualCounts = [6, 12, 24]

export async function check(sink: string | undefined, flags: CheckFlags): Promise<void> {
  const { settings, targets } = await loadTargets(flags)
  const target = chooseTarget(targets, sink)
  await using database = openDatabase(settings, 'kafka check')
  if (flags.simulate !== undefined) {
    const simulated = await simulateLog(database, settings.schema, target, flags.simulate, flags.partitions ?? usualCounts)
    return flags.json ? printJson(simulated) : showSimulated(simulated)
  }
  const facts = await readFacts(database, settings.schema, target)
  const { preflight } = await import('@postrider/kafka')
  const found = await preflight(target.driver, {
    topics: facts.topics.map(({ name }) => name),
    ...(facts.largestBytes !== null && { largestBytes: facts.largestBytes }),
    ...(facts.oldest !== null && { oldestMs: facts.oldest.getTime() }),
    nullKeys: facts.nullKeys,
    partitionCounts: new Map(Object.entries(target.config.partitionCounts ?? {})),
    ...(flags.canary !== undefined && { canary: flags.canary }),
  })
  const checks: readonly PreflightCheck[] = [...found, ...facts.unnamed.map(unnamed)]
  const failed = checks.filter(({ level }) => level === 'fail').length
  const warned = checks.filter(({ level }) => level === 'warn').length
  if (failed > 0) process.exitCode = exitCodes.checkFailed
  if (flags.json) return printJson({ sink: target.name, failed, warned, checks })
  show(checks)
  say(failed + warned === 0 ? 'All is well.' : `${failed} failed, ${warned} ${warned === 1 ? 'warning' : 'warnings'}.`)
}

function unnamed(type: string): PreflightCheck {
  return {
    check: 'topic',
    subject: type,
    level: 'fail',
    detail: 'no legal name of a topic comes of this type, so its events are refused',
    next: 'Change `topic` of the sink, or leave the type out by `types`.',
  }
}

const marks = { ok: ['green', 'ok  '], warn: ['yellow', 'warn'], fail: ['red', 'FAIL'] } as const

function show(checks: readonly PreflightCheck[]): void {
  const nameOf = ({ check, subject }: PreflightCheck): string => (subject === null ? check : `${check} of ${plain(subject)}`)
  const width = Math.max(...checks.map((one) => nameOf(one).length))
  for (const one of checks) {
    const [colour, mark] = marks[one.level]
    print(`${style(colour, mark)}  ${nameOf(one).padEnd(width)}  ${plain(one.detail)}`)
    if (one.next !== null) print(`${' '.repeat(width + 8)}${style('dim', `→ ${plain(one.next)}`)}`)
  }
}

function showSimulated({ topics, events, all }: Simulated): void {
  if (events === 0) return say('No event of that time is for this sink.')
  for (const { topic, events: ofTopic, simulations } of topics) {
    print(style('bold', `${topic}: ${ofTopic.toLocaleString('en')} events`))
    const rows = simulations.flatMap(({ partitions, shares, imbalance }) =>
      shares.map((share) => ({ ...share, of: partitions, first: share.partition === 0, imbalance })),
    )
    print(
      renderTable(rows, [
        { title: 'partitions', align: 'right', cell: ({ of, first }) => (first ? String(of) : '') },
        { title: 'partition', align: 'right', cell: ({ partition }) => String(partition) },
        { title: 'keys', align: 'right', cell: ({ keys }) => keys.toLocaleString('en') },
        { title: 'records', align: 'right', cell: ({ records }) => records.toLocaleString('en') },
        { title: 'bytes', align: 'right', cell: ({ bytes }) => wordBytes(bytes) },
        { title: 'share', align: 'right', cell: ({ share }) => `${(share * 100).toFixed(1)} %` },
        { title: 'busiest to even', align: 'right', cell: ({ first, imbalance }) => (first ? `${imbalance.toFixed(2)}×` : '') },
      ]),
    )
  }
  if (!all) say(`There were more: this is of the newest ${mostEvents.toLocaleString('en')} events.`)
}
