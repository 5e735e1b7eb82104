import type { Reach, Sink, SinkFamily } from '@postrider/relay'
import { isPostriderError } from '@postrider/schema'
import type { Settings } from '../config.ts'
import { ownPlaces } from '../own-places.ts'
import { createSink } from '../sinks.ts'
import { wordDuration } from '../table.ts'
import { fail, ok, warn, wordList, type Check, type Finding, type Patient } from './check.ts'

/** Of one sink; those that have been failing are looked at first. */
const mostEndpoints = 100
const atOnce = 8
/** For all of them together. */
const deadlineMs = 30_000
/** A certificate that ends sooner is worth a word. */
const certificateMs = 14 * 86_400_000

/** A destination, and what was wrong with it already. */
interface Destination {
  readonly name: string
  readonly sink: Sink | null
  readonly problem: string | null
}

interface Seen {
  readonly name: string
  readonly problem: string | null
  readonly certificateEnds: Date | null
}

/**
 * Whether the destinations of a configuration can be reached from here: their options and secrets, names, addresses, TLS and
 * certificates, as for a delivery. Nothing is sent to them. What is paused, disabled or gone is not looked at.
 */
export function destinations(load: () => Promise<Pick<Settings, 'database' | 'health' | 'sinks'>>): Check {
  return {
    name: 'destinations',
    needsSchema: true,
    async look(patient) {
      let settings: Awaited<ReturnType<typeof load>>
      try {
        settings = await load()
      } catch (error) {
        if (!isPostriderError(error)) throw error
        const why = error.details.problems?.join('; ') ?? error.message
        return warn(`not looked at: ${why}`, 'Ask where the relay runs, with its configuration and its secrets.')
      }
      if (Object.keys(settings.sinks).length === 0) return ok('not looked at: there is no configuration with sinks here')
      await using stack = new AsyncDisposableStack()
      const { all, left } = await open(settings, patient, stack)
      const { seen, late } = await reachAll(all)
      return judge(seen, [...left, ...late])
    },
  }
}

async function open(
  settings: Pick<Settings, 'database' | 'health' | 'sinks'>,
  { ask }: Patient,
  stack: AsyncDisposableStack,
): Promise<{ readonly all: readonly Destination[]; readonly left: readonly string[] }> {
  const stopped = await ask<{ name: string }>(`select name from postrider.sinks where state in ('paused', 'disabled', 'gone')`)
  const skipped = new Set(stopped.map(({ name }) => name))
  const all: Destination[] = []
  const left: string[] = []
  for (const [name, config] of Object.entries(settings.sinks)) {
    if (skipped.has(name)) continue
    const sink = stack.use(await createSink(name, config, undefined, ownPlaces(settings)))
    if (!('open' in sink)) {
      all.push({ name, sink, problem: null })
      continue
    }
    const rows = await rowsOf(name, ask)
    if (rows === null) left.push(`the endpoints of ${name}, which this role may not read`)
    else {
      const more = (rows[0]?.of ?? 0) - rows.length
      if (more > 0) left.push(`${more.toLocaleString('en')} endpoints more of ${name}`)
      all.push(...rows.map(({ of: _of, ...row }) => openEndpoint(sink, row, stack)))
    }
  }
  return { all, left }
}

type Row = Readonly<Record<string, unknown>> & { readonly sink: string; readonly of: number }

/** Null for a role that may look at everything but where endpoints lead. */
async function rowsOf(family: string, ask: Patient['ask']): Promise<readonly Row[] | null> {
  try {
    return await ask<Row>(
      `select e.*, count(*) over ()::int as of
       from postrider.endpoints as e join postrider.sinks as s on s.name = e.sink left join postrider.circuits as c on c.sink = e.sink
       where s.family = $1 and s.state in ('pending', 'active')
       order by (c.failing_since is null), e.sink limit ${mostEndpoints}`,
      [family],
    )
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === '42501') return null
    throw error
  }
}

function openEndpoint(
  family: SinkFamily,
  row: Readonly<Record<string, unknown>> & { readonly sink: string },
  stack: AsyncDisposableStack,
): Destination {
  try {
    return { name: row.sink, sink: stack.use(family.open({ name: row.sink, settings: row })), problem: null }
  } catch (error) {
    if (!isPostriderError(error)) throw error
    return { name: row.sink, sink: null, problem: error.details.problems?.join(', ') ?? error.message }
  }
}

/** Those that the deadline left no time for are `late`, which says nothing about them. */
async function reachAll(
  all: readonly Destination[],
): Promise<{ readonly seen: readonly Seen[]; readonly late: readonly string[] }> {
  const signal = AbortSignal.timeout(deadlineMs)
  const seen: Seen[] = []
  const late: string[] = []
  const waiting = [...all]
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const one = await see(next, signal)
      if (signal.aborted && one.problem !== null) late.push(one.name)
      else seen.push(one)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, work))
  return { seen, late }
}

async function see({ name, sink, problem }: Destination, signal: AbortSignal): Promise<Seen> {
  if (sink?.reach === undefined) return { name, problem, certificateEnds: null }
  const reach: Reach = await sink.reach(signal)
  return reach.reached
    ? { name, problem: null, certificateEnds: reach.certificateEnds }
    : { name, problem: `${reach.error.code}: ${reach.error.message}`, certificateEnds: null }
}

function judge(seen: readonly Seen[], left: readonly string[]): Finding {
  const rest = left.length === 0 ? '' : `; not looked at: ${wordList(left)}`
  const wrong = seen.filter(({ problem }) => problem !== null)
  if (wrong.length > 0) {
    return fail(
      `${wrong.length === 1 ? 'one cannot' : `${wrong.length} of ${seen.length} cannot`} be reached from here: ${wordList(wrong.map(({ name, problem }) => `${name} (${problem})`))}${rest}`,
      'Look at its name, its address, its certificate, and what stands between.',
    )
  }
  const soon = Date.now() + certificateMs
  const ending = seen.filter(({ certificateEnds }) => certificateEnds !== null && certificateEnds.getTime() < soon)
  if (ending.length > 0) {
    const words = ending.map(
      ({ name, certificateEnds }) => `${name} in ${wordDuration((certificateEnds?.getTime() ?? 0) - Date.now())}`,
    )
    return warn(
      `certificates end soon: ${wordList(words)}${rest}`,
      'Have the certificate renewed: when it has ended, nothing is delivered.',
    )
  }
  return ok(seen.length === 0 ? 'there is none to look at' : `${seen.length} can be reached from here${rest}`)
}
