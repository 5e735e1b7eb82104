import { hostname } from 'node:os'
import { PostriderError, typeFilterPattern } from '@postrider/schema'
import type { Sink, SinkFamily } from './sink.ts'

/** When to try again: the delay after attempt n is `delaysMs[n - 1]`; after the last one the event is dead. */
export interface RetryPolicy {
  readonly delaysMs: readonly number[]
  /** Share of the delay that is added at random, 0 to 1. Only added, so that a floor asked for by a destination holds. */
  readonly jitter: number
  /** An event that has been tried for longer than this is dead at its next failure, whatever its attempts. */
  readonly maxAgeMs: number
}

/** When a sink's destination is left alone. */
export interface CircuitPolicy {
  /** Different events that have to fail in a row, 1 to 1,000. */
  readonly failures: number
  /** How long it stays open at first; twice as long after each probe that fails, up to `mostMs`, up to a fifth more at random. */
  readonly openMs: number
  readonly mostMs: number
}

/** Opens after ten failures, for a second at first, as a restart takes, and 15 minutes at most. */
export const standardCircuit: CircuitPolicy = { failures: 10, openMs: 1_000, mostMs: 900_000 }

const s = 1_000
const min = 60 * s
const h = 60 * min

/** `fast` for internal services (a day), `standard` (three days, four with jitter), `patient` (a week). */
export const retryPolicies: Readonly<Record<'fast' | 'standard' | 'patient', RetryPolicy>> = {
  fast: {
    delaysMs: [1, 2, 4, 8, 16, 32, 64, 128, 256, ...Array<number>(280).fill(300)].map((seconds) => seconds * s),
    jitter: 0.2,
    maxAgeMs: 24 * h,
  },
  standard: {
    delaysMs: [5 * s, 30 * s, 2 * min, 10 * min, 30 * min, h, 2 * h, 4 * h, 8 * h, 12 * h, 20 * h, 24 * h],
    jitter: 0.2,
    maxAgeMs: 96 * h,
  },
  patient: {
    delaysMs: [5 * s, 30 * s, 2 * min, 10 * min, 30 * min, h, 2 * h, 4 * h, 8 * h, 12 * h, ...Array<number>(6).fill(24 * h)],
    jitter: 0.2,
    maxAgeMs: 7 * 24 * h,
  },
}

/** A sink, and how its stream is carried. */
export interface SinkOptions {
  /** A destination; or a family of them, for which the other options are those of each endpoint. */
  readonly sink: Sink | SinkFamily
  /** Event types it gets: segments, `*` for any one, `**` (last) for the rest. Default: all. */
  readonly types?: readonly string[]
  /** Ordered shares of the stream, 1 to 64; fixed when the sink is first seen. Default 4; of an endpoint 1, fixed when it is added. */
  readonly lanes?: number
  /** Deliveries in flight at once, over all relays, 1 to 10,000. Default 32; of an endpoint 8. */
  readonly concurrency?: number
  /** Deliveries begun in a second, over all relays, above 0; may be a fraction. Default: no limit. */
  readonly rate?: number
  /** When the destination is left alone, or `false`: never. Default {@link standardCircuit}. */
  readonly circuit?: CircuitPolicy | false
  /** `key`: events of one key one after the other, in the order of their inserts. Default `key`. */
  readonly ordering?: 'key' | 'none'
  /**
   * What becomes of an event that cannot be delivered: `block` makes later events of its key wait until an operator decides,
   * `park` keeps it as a dead letter and lets them pass, `skip` gives it up with a record. Default `block`.
   */
  readonly onDead?: 'block' | 'park' | 'skip'
  /** Default `standard`. */
  readonly retry?: keyof typeof retryPolicies | RetryPolicy
  /** Which attempts are recorded. Default `all`. */
  readonly audit?: 'all' | 'failures' | 'none'
  /** Where a sink that was never seen before starts to read the log. Default `beginning`. */
  readonly startFrom?: 'beginning' | 'now'
}

export interface RelayOptions {
  /** PostgreSQL, as `postgres://user:password@host:port/database`. A transaction pooler is fine here. */
  readonly connectionString: string
  /**
   * A direct connection for LISTEN and the wake-up gate, where `connectionString` goes through a pooler.
   * `false`: there is none, the relay polls. Default: the same as `connectionString`.
   */
  readonly directConnectionString?: string | false
  /** Name of the PostgreSQL schema. Default `postrider`. */
  readonly schema?: string
  /** How this relay is called in tables and logs. Default `hostname:pid`. */
  readonly name?: string
  readonly sinks: readonly SinkOptions[]
  /** Connections in the pool, 2 to 100. Default 8. */
  readonly connections?: number
  /** A dead relay's lanes are taken over within this time, 1,000 to 300,000 ms. Default 10,000. */
  readonly leaseMs?: number
  /** How often an idle relay looks, should every notification be lost, 50 to 60,000 ms. Default 1,000. */
  readonly pollMs?: number
  /** Events that are read, carried and settled together, 1 to 10,000; bounds the repeats after a crash. Default 500. */
  readonly pageSize?: number
  /** After this time a page starts no more events, 10 to 60,000 ms. Default 1,000. */
  readonly pageMs?: number
  /** An attempt that takes longer no longer holds up its page: it is parked, 10 to 60,000 ms. Default 1,000. */
  readonly slowMs?: number
  /**
   * When the database has been restored into another cluster: `anchor` the cursors anew and go on, or `refuse` to start, for
   * copies that must not send. Default `anchor`.
   */
  readonly onRestore?: 'anchor' | 'refuse'
  /** At a stop: how long attempts in flight may take to end, 0 to 600,000 ms. Default 25,000. */
  readonly drainMs?: number
  /** How often the relays of a cluster together do its chores (retention, ends of pauses), 100 to 600,000 ms. Default 10,000. */
  readonly choreMs?: number
}

/** Options with every default in its place; inside the relay there is no other form. */
export interface Settings extends Required<Omit<RelayOptions, 'sinks' | 'directConnectionString'>> {
  readonly directConnectionString: string | false
  readonly sinks: readonly SinkSettings[]
}

export interface SinkSettings extends Required<Omit<SinkOptions, 'types' | 'retry' | 'rate' | 'circuit'>> {
  readonly name: string
  readonly types: readonly string[] | null
  readonly retry: RetryPolicy
  readonly rate: number | null
  readonly circuit: CircuitPolicy | null
}

export function isFamily(sink: Sink | SinkFamily): sink is SinkFamily {
  return 'open' in sink
}

/**
 * Checks options once, at the door, and fills in the defaults.
 * @throws PostriderError `invalid_options` with every problem at once.
 */
export function settingsOf(options: RelayOptions): Settings {
  const problems: string[] = []
  const number = (path: string, value: number | undefined, fallback: number, low: number, high: number): number => {
    const chosen = value ?? fallback
    if (!Number.isInteger(chosen) || chosen < low || chosen > high) {
      problems.push(`${path}: expected a whole number from ${low} to ${high}, got ${chosen}`)
    }
    return chosen
  }
  const oneOf = <T extends string>(path: string, value: T | undefined, fallback: T, allowed: readonly T[]): T => {
    const chosen = value ?? fallback
    if (!allowed.includes(chosen)) problems.push(`${path}: expected ${allowed.join(' or ')}, got ${chosen}`)
    return chosen
  }

  const names = options.sinks.map(({ sink }) => sink.name)
  const sinks = options.sinks.map((given, index): SinkSettings => {
    const at = `sinks[${index}]`
    const { name } = given.sink
    if (typeof name !== 'string') problems.push(`${at}.sink: expected a sink; one that is made by a promise has to be awaited`)
    else if (!/^[a-z0-9][a-z0-9_-]{0,62}$/.test(name))
      problems.push(`${at}.name: lower-case letters, digits, _ and - only, got "${name}"`)
    if (names.indexOf(name) !== index) problems.push(`${at}.name: "${name}" is there twice`)
    for (const filter of given.types ?? []) {
      if (!typeFilterPattern.test(filter))
        problems.push(`${at}.types: "${filter}" is not a filter; segments joined by dots, * for one, ** at the end`)
    }
    if (given.types?.length === 0) problems.push(`${at}.types: an empty list would take nothing; leave it out to take all`)
    const family = isFamily(given.sink)
    if (family && given.types !== undefined) problems.push(`${at}.types: every endpoint has its own; leave it out`)
    if (given.rate !== undefined && !(given.rate > 0 && given.rate < Infinity))
      problems.push(`${at}.rate: expected a number above 0, got ${given.rate}`)
    return {
      sink: given.sink,
      name,
      types: given.types ?? null,
      lanes: number(`${at}.lanes`, given.lanes, family ? 1 : 4, 1, 64),
      concurrency: number(`${at}.concurrency`, given.concurrency, family ? 8 : 32, 1, 10_000),
      rate: given.rate ?? null,
      circuit: circuitOf(`${at}.circuit`, given.circuit ?? standardCircuit, problems),
      ordering: oneOf(`${at}.ordering`, given.ordering, 'key', ['key', 'none']),
      onDead: oneOf(`${at}.onDead`, given.onDead, 'block', ['block', 'park', 'skip']),
      retry: policy(`${at}.retry`, given.retry ?? 'standard', problems),
      audit: oneOf(`${at}.audit`, given.audit, 'all', ['all', 'failures', 'none']),
      startFrom: oneOf(`${at}.startFrom`, given.startFrom, 'beginning', ['beginning', 'now']),
    }
  })
  if (sinks.length === 0) problems.push('sinks: at least one')

  const schema = options.schema ?? 'postrider'
  if (!/^[a-z_][a-z0-9_]{0,40}$/.test(schema)) problems.push(`schema: a plain lower-case identifier, got "${schema}"`)
  if (options.connectionString === '') problems.push('connectionString: is empty')

  const settings: Settings = {
    connectionString: options.connectionString,
    directConnectionString: options.directConnectionString ?? options.connectionString,
    schema,
    name: options.name ?? `${hostname()}:${process.pid}`,
    sinks,
    connections: number('connections', options.connections, 8, 2, 100),
    leaseMs: number('leaseMs', options.leaseMs, 10_000, 1_000, 300_000),
    pollMs: number('pollMs', options.pollMs, 1_000, 50, 60_000),
    pageSize: number('pageSize', options.pageSize, 500, 1, 10_000),
    pageMs: number('pageMs', options.pageMs, 1_000, 10, 60_000),
    slowMs: number('slowMs', options.slowMs, 1_000, 10, 60_000),
    onRestore: oneOf('onRestore', options.onRestore, 'anchor', ['anchor', 'refuse']),
    drainMs: number('drainMs', options.drainMs, 25_000, 0, 600_000),
    choreMs: number('choreMs', options.choreMs, 10_000, 100, 600_000),
  }
  if (problems.length > 0) {
    throw new PostriderError('invalid_options', `relay options: ${problems.join('; ')}`, { problems })
  }
  return Object.freeze(settings)
}

function circuitOf(path: string, given: CircuitPolicy | false, problems: string[]): CircuitPolicy | null {
  if (given === false) return null
  if (!Number.isInteger(given.failures) || given.failures < 1 || given.failures > 1_000)
    problems.push(`${path}.failures: expected a whole number from 1 to 1000, got ${given.failures}`)
  if (!(given.openMs >= 1)) problems.push(`${path}.openMs: 1 ms or more, got ${given.openMs}`)
  if (!(given.mostMs >= given.openMs)) problems.push(`${path}.mostMs: not below openMs, got ${given.mostMs}`)
  return given
}

function policy(path: string, given: keyof typeof retryPolicies | RetryPolicy, problems: string[]): RetryPolicy {
  if (typeof given === 'string') {
    const preset = retryPolicies[given]
    if (preset === undefined)
      problems.push(`${path}: expected ${Object.keys(retryPolicies).join(', ')} or a policy, got "${given}"`)
    return preset ?? retryPolicies.standard
  }
  if (given.delaysMs.some((delay) => !(delay >= 0))) problems.push(`${path}.delaysMs: every delay is 0 ms or more`)
  if (!(given.jitter >= 0 && given.jitter <= 1)) problems.push(`${path}.jitter: from 0 to 1, got ${given.jitter}`)
  if (!(given.maxAgeMs > 0)) problems.push(`${path}.maxAgeMs: more than 0, got ${given.maxAgeMs}`)
  return given
}
