import { Argument, InvalidArgumentError, type Command } from 'commander'
import { collect, uuid, wholeNumber } from './options.ts'

/** Which events an operation is about; the grammar stands in migrations/0007_operations.sql. */
export type Filter = Readonly<Record<string, unknown>>

/** What every event can be chosen by. */
interface EventFlags {
  readonly type?: readonly string[]
  readonly key?: string
  readonly tenant?: string
  readonly since?: string
  readonly until?: string
}

/** What a delivery can be chosen by, besides. */
interface DeliveryFlags {
  readonly sink?: readonly string[] | string
  readonly state?: readonly string[]
  readonly attempts?: number
  readonly code?: string
  readonly fingerprint?: string
}

export type FilterFlags = EventFlags & DeliveryFlags

/** `[event-ids...]` */
export function withIds(command: Command): Command {
  return command.addArgument(new Argument('[event-ids...]', 'only these events').argParser(collect(uuid)))
}

/** `--type`, `--key`, `--tenant`, `--since`, `--until`. */
export function withEventFilter(command: Command): Command {
  return command
    .option('--type <filter>', 'only these types: order.*, order.** (may be repeated)', collect(String))
    .option('--key <key>', 'only events of this key')
    .option('--tenant <name>', 'only events of this tenant')
    .option('--since <time>', 'written from then on: 2026-01-31T08:30:00Z, or 2h for two hours ago', pointInTime)
    .option('--until <time>', 'written before then', pointInTime)
}

/** Those of events, and `--sink`, `--attempts`, `--code`, `--fingerprint`. */
export function withDeliveryFilter(command: Command): Command {
  return withEventFilter(
    command
      .option('--sink <name>', 'only at this sink (may be repeated)', collect(String))
      .option('--attempts <n>', 'tried so often, or more', wholeNumber(1, 999_999_999))
      .option('--code <code>', 'only with this error code')
      .option('--fingerprint <text>', 'only of this cause, as in: postrider dead groups'),
  )
}

/** The filter that options and ids say; those that are not given are not in it. `--sink` is in it when it is a list. */
export function filterOf(flags: FilterFlags, ids: readonly string[] = []): Filter {
  const { type, key, tenant, since, until, sink, state, attempts, code, fingerprint } = flags
  const named = {
    sink: typeof sink === 'string' ? undefined : sink,
    type,
    key,
    tenant,
    state,
    since,
    until,
    min_attempts: attempts,
    error_code: code,
    fingerprint,
    ids: ids.length === 0 ? undefined : ids,
  }
  return Object.fromEntries(Object.entries(named).filter(([, value]) => value !== undefined))
}

/** Ends the command unless it is told which events it is about: by ids, by what they have in common, or by `--all`. */
export function mustChoose(command: Command, filter: Filter, all: boolean, example: string): void {
  if (Object.keys(filter).length === 0 && !all) {
    command.error(`error: give the ids of events, what they have in common (such as ${example}), or --all`)
  }
  if ('ids' in filter && all) command.error('error: give the ids of events or --all, not both')
}

const unitMs = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** `2026-01-31T08:30:00Z`, `2026-01-31` (midnight UTC), or `2h`: so long ago. */
export function pointInTime(text: string): string {
  const [, number = '', unit = 's'] = /^(\d{1,9})([smhd])$/.exec(text) ?? []
  const ago = Number(number) * unitMs[unit as keyof typeof unitMs]
  // There was no event before 1970, and Date ends at some time.
  if (number !== '' && ago <= Date.now()) return new Date(Date.now() - ago).toISOString()
  const whole = /^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00:00Z` : text
  if (!/^\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*(Z|[+-]\d\d(:?\d\d)?)$/.test(whole) || Number.isNaN(Date.parse(whole))) {
    throw new InvalidArgumentError(
      'Expected a time with its zone such as 2026-01-31T08:30:00Z, a day, or how long ago: 30m, 2h, 7d.',
    )
  }
  return whole
}

const fastest = 1_000_000

/** `100/s`, `30/m` or `100`, as events in a second. */
export function rate(text: string): number {
  const [, number = '', unit] = /^(\d+(?:\.\d+)?)(?:\/(s|m))?$/.exec(text) ?? []
  const perSecond = Number(number) / (unit === 'm' ? 60 : 1)
  if (number === '' || perSecond === 0 || perSecond > fastest)
    throw new InvalidArgumentError('Expected a rate such as 100/s or 30/m.')
  return perSecond
}

/** Several words, one for each time the option is there, or joined by commas. */
export function words(text: string, before: readonly string[] | undefined = []): string[] {
  return [...before, ...text.split(',').map((word) => word.trim())]
}
