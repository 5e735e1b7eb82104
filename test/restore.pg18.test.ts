/** Backups, as operators make and restore them: with pg_dump, pg_restore and pg_basebackup, between whole clusters. */
import { chown, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { migrate } from '@postrider/migrations'
import { createRelay, subscribe, type Attempt, type Messages, type Outcome, type RelayOptions, type Sink } from '@postrider/relay'
import pg from 'pg'
import { describe, expect, onTestFinished, test } from 'vitest'
import { faultless, faultsOf, type Written } from './history.ts'
import { scratch, serverUser } from './postgres/binaries.ts'
import { startPostgres, type PostgresServer } from './postgres/index.ts'
import { findTools, missingTools, type Tools } from './postgres/tools.ts'
import { bigNumber, startReceiver } from './receiver.ts'
import { startRelay } from './relay-process.ts'
import { until } from './until.ts'
import { startWriters } from './writers.ts'

const found = findTools()
/** For those that run only where there are tools. */
const tools = found as Tools

/** A directory that servers and tools may write, until the test has ended. */
async function directory(): Promise<string> {
  const user = serverUser()
  const path = await mkdtemp(join(await scratch(user), 'postrider-restore-'))
  if (user !== undefined) await chown(path, user.uid, user.gid)
  onTestFinished(() => rm(path, { recursive: true, force: true, maxRetries: 10 }))
  return path
}

const start = (options: { readonly dataDir?: string; readonly port?: number } = {}): Promise<PostgresServer> =>
  startPostgres({ ...options, binaries: tools.home })

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client(url)
  client.on('error', () => {}) // its server is stopped
  await client.connect()
  onTestFinished(() => client.end().catch(() => undefined))
  return client
}

/** Uses up transaction ids, so that those of two clusters are far apart. */
async function burn(client: pg.Client, transactions: number): Promise<void> {
  await client.query(`do $$ begin for i in 1..${transactions} loop perform pg_current_xact_id(); commit; end loop; end $$`)
}

async function emit(client: pg.Client, key: string | null, n: number, more: Record<string, unknown> = {}): Promise<string> {
  const event = { type: 'a.made', ...(key === null ? {} : { key }), ...more }
  const { rows } = await client.query<{ id: string }>(
    `select postrider.emit($1::jsonb || jsonb_build_object('payload', jsonb_build_object('key', $2::text, 'n', $3::int, 'big', ${bigNumber}))) as id`,
    [JSON.stringify(event), key ?? 'none', n],
  )
  return rows[0]?.id ?? ''
}

/** A sink that remembers what it took, and answers as it is told. */
class RecordingSink implements Sink {
  readonly name: string
  readonly kind = 'recording'
  readonly deadlineMs = 20_000
  taken: (Written & { readonly attempt: number })[] = []
  answer: (event: Written, signal: AbortSignal) => Outcome | Promise<Outcome> = () => ({ kind: 'delivered' })

  constructor(name: string) {
    this.name = name
  }

  async deliver({ event, number }: Attempt, signal: AbortSignal): Promise<Outcome> {
    const { key, n } = JSON.parse(event.payloadText ?? '') as { key: string; n: number }
    const outcome = await this.answer({ id: event.id, key, n }, signal)
    if (outcome.kind === 'delivered') this.taken.push({ id: event.id, key, n, attempt: number })
    return outcome
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

/** The sinks of the shop, as its configuration has them. */
function sinksOf(names: readonly string[]): {
  readonly sinks: Readonly<Record<string, RecordingSink>>
  readonly options: RelayOptions['sinks']
} {
  const sinks = Object.fromEntries(names.map((name) => [name, new RecordingSink(name)]))
  const rules: Record<string, Partial<RelayOptions['sinks'][number]>> = {
    main: { lanes: 4, retry: { delaysMs: Array<number>(20).fill(100), jitter: 0, maxAgeMs: 86_400_000 } },
    loose: { ordering: 'none' },
    only_b: { types: ['b.*'] },
    paused: { lanes: 2 },
    late: { startFrom: 'now', audit: 'none' },
  }
  return { sinks, options: Object.entries(sinks).map(([name, sink]) => ({ sink, ...rules[name] })) }
}

interface Running {
  stop(how?: 'hard'): Promise<void>
}

function run(url: string, sinks: RelayOptions['sinks'], options: Partial<RelayOptions> = {}): Running {
  const relay = createRelay({
    connectionString: url,
    pollMs: 100,
    leaseMs: 2_000,
    drainMs: 3_000,
    pageSize: 5,
    ...options,
    sinks,
  })
  const soft = new AbortController()
  const hard = new AbortController()
  const running = relay.run(soft.signal, hard.signal)
  running.catch(() => undefined)
  const stop = async (how?: 'hard'): Promise<void> => {
    ;(how === 'hard' ? hard : soft).abort()
    await running
  }
  onTestFinished(() => stop('hard').catch(() => undefined))
  return { stop }
}

/** `sink event` → state, as `explain` tells it. */
async function explainAll(client: pg.Client): Promise<Map<string, string>> {
  const { rows } = await client.query<{ at: string; state: string }>(
    `select x.sink || ' ' || e.id as at, x.state from postrider.events as e cross join lateral postrider.explain(e.id) as x`,
  )
  return new Map(rows.map(({ at, state }) => [at, state]))
}

const keys = ['k0', 'k1', 'k2', 'k3', 'k4', 'k5']
const refused: Outcome = { kind: 'reject', error: { code: 'payload_refused', message: 'answered 413' } }
const failed: Outcome = { kind: 'retry', error: { code: 'status_5xx', message: 'answered 500' } }
const failedForLong: Outcome = { ...failed, afterMs: 3_600_000 }

/** A shop in the middle of its life, with everything that can be undone in it; then the client is the only session left. */
async function fillShop(url: string): Promise<{ readonly client: pg.Client; readonly late: readonly string[] }> {
  const client = await connect(url)
  await migrate(client)
  const first = sinksOf(['main', 'loose', 'only_b', 'paused'])
  for (let n = 1; n <= 3; n++) for (const key of keys) await emit(client, key, n, n === 2 ? { type: 'b.made' } : {})
  const one = run(url, first.options)
  await until('the first are delivered', () =>
    ['main', 'loose', 'paused'].every((name) => first.sinks[name]?.taken.length === 18),
  )
  await client.query(`select postrider.pause('paused', 'stock-taking')`)

  // Heads of keys: dead, retrying in an hour, and an event for later.
  first.sinks['main']!.answer = ({ key, n }) => (n !== 1 ? { kind: 'delivered' } : key === 'dead' ? refused : failedForLong)
  for (const key of ['dead', 'flaky']) for (let n = 1; n <= 3; n++) await emit(client, key, n)
  await emit(client, 'later', 1, { deliver_at: '2099-01-01T00:00:00Z' })
  await until(
    'there is trouble',
    async () => (await client.query(`select from postrider.deliveries where sink = 'main'`)).rowCount === 7,
  )
  await one.stop()

  // A backlog, cut off in the middle of a window, while a sink begins from now, and with a transaction open.
  for (let n = 4; n <= 12; n++) for (const key of keys) await emit(client, key, n, n % 2 === 0 ? { type: 'b.made' } : {})
  await emit(client, 'soon', 1, { deliver_at: new Date(Date.now() + 1_000).toISOString() })
  const second = sinksOf(['main', 'late'])
  let answers = 0
  second.sinks['main']!.answer = async (_event, signal) => {
    if (++answers <= 20) return { kind: 'delivered' }
    await new Promise((resolve) => signal.addEventListener('abort', resolve))
    return { kind: 'retry', error: { code: 'interrupted', message: 'stopped' } }
  }
  const two = run(url, second.options)
  await until(
    'a window is open',
    async () => (await client.query(`select from postrider.cursors where sink = 'main' and target is not null`)).rowCount! > 0,
  )
  await until(
    'the last sink has begun',
    async () => (await client.query(`select from postrider.sinks where name = 'late'`)).rowCount === 1,
  )
  await two.stop('hard')
  const late = []
  for (let n = 13; n <= 15; n++) for (const key of keys) late.push(await emit(client, key, n))
  for (let n = 1; n <= 5; n++) await emit(client, null, n)
  return { client, late }
}

describe.skipIf(found === null)(`backup and restore${found === null ? ` (${missingTools})` : ''}`, () => {
  test.for([
    ['with transaction ids far below', 0, 6_000, []],
    ['with transaction ids far above, of the schema alone', 15_000, 0, ['--schema=postrider']],
  ] as const)(
    'pg_dump and pg_restore into a cluster %s: everything undone goes out once and in order, nothing that was done',
    { timeout: 120_000 },
    async ([, burnThere, burnHere, what]) => {
      const folder = await directory()
      await using here = await start()
      await burn(await connect(here.url), burnHere)
      const { client, late } = await fillShop(here.url)
      const open = await connect(here.url)
      await open.query('begin')
      const lost = await emit(open, 'k0', 99)
      const before = await explainAll(client)
      await tools.run('pg_dump', '-Fc', ...what, '-f', join(folder, 'shop.dump'), '-d', here.url)
      expect(new Set(before.values())).toEqual(
        new Set(['delivered', 'dead', 'retrying', 'blocked', 'scheduled', 'pending', 'filtered', 'skipped']),
      )
      await here.stop()

      await using there = await start()
      const restored = await connect(there.url)
      await burn(restored, burnThere)
      await tools.run('pg_restore', '--exit-on-error', '-d', there.url, join(folder, 'shop.dump'))
      // The shop is quicker than the relays.
      await emit(restored, 'k0', 16)

      const anchored: Messages['postrider:anchored'][] = []
      onTestFinished(subscribe('postrider:anchored', (message) => anchored.push(message)))
      const names = ['main', 'loose', 'only_b', 'paused', 'late']
      const { sinks, options } = sinksOf(names)
      // Nothing goes out before we have looked.
      for (const name of names) await restored.query('select postrider.pause($1, $2)', [name, 'to look at it'])
      // The heads of a key fail at first.
      const tried = new Set<string>()
      sinks['main']!.answer = ({ id, key }) => {
        if (key !== 'k3' || tried.has(id)) return { kind: 'delivered' }
        tried.add(id)
        return failed
      }
      const relays = [run(there.url, options), run(there.url, options)]
      await until('they have anchored', () => anchored.length > 0)
      expect(anchored).toMatchObject([{ continued: false, missing: 0 }])
      expect(anchored[0]!.from).not.toBe(anchored[0]!.to)
      expect((await restored.query(`select from postrider.actions where action = 'anchored'`)).rowCount).toBe(1)

      // Explain tells the same as before, but that what was pending is a row now, and what was for soon is due.
      const after = await explainAll(restored)
      const differences = [...before].filter(([at, state]) => {
        const now = after.get(at) ?? 'unknown'
        if (state === 'pending') return !['retrying', 'blocked', 'scheduled'].includes(now)
        return now !== state && !(state === 'scheduled' && now === 'retrying')
      })
      expect(differences).toEqual([])

      for (const key of keys) await emit(restored, key, 17)
      await restored.query(`select postrider.retry(event_id) from postrider.dead_letters`)
      await restored.query(`update postrider.deliveries set available_at = clock_timestamp() where state = 'retrying'`)
      for (const name of names) await restored.query('select postrider.resume($1)', [name])
      const undone = (sink: string): string[] =>
        [...before].flatMap(([at, state]) =>
          at.startsWith(`${sink} `) && !['delivered', 'filtered', 'skipped'].includes(state) ? [at.slice(sink.length + 1)] : [],
        )
      const { rows: log } = await restored.query<Written & { type: string; position: string }>(
        `select id, payload ->> 'key' as key, (payload ->> 'n')::int as n, type, position from postrider.events order by position`,
      )
      const fresh = log.filter(({ id }) => ![...before.keys()].some((at) => at.endsWith(id)))
      expect(fresh).toHaveLength(7)
      for (const name of names) {
        const wanted = new Set([
          ...undone(name),
          ...fresh.filter(({ type }) => name !== 'only_b' || type.startsWith('b.')).map(({ id }) => id),
        ])
        for (const { id, key } of log) if (key === 'later') wanted.delete(id)
        await until(`all arrived at ${name}`, () => sinks[name]!.taken.length >= wanted.size, 30_000)
        // Each once, and no other.
        expect(sinks[name]!.taken.map(({ id }) => id).sort(), name).toEqual([...wanted].sort())
        const inOrder = name === 'loose' ? [] : [...keys, 'dead', 'flaky', 'soon']
        for (const key of inOrder) {
          const numbers = sinks[name]!.taken.filter((taken) => taken.key === key).map(({ n }) => n)
          expect(numbers, `${name} ${key}`).toEqual([...numbers].sort((a, b) => a - b))
        }
      }
      expect(undone('late').toSorted()).toEqual(expect.arrayContaining(late.toSorted()))
      expect(log.some(({ id }) => id === lost)).toBe(false)
      // The ids of this cluster come to those that the restored events carry, and pass them.
      const beforePassing = names.map((name) => sinks[name]!.taken.length)
      for (let times = 0; times < 4; times++) {
        await burn(restored, 3_000)
        for (const key of keys) await emit(restored, key, 18 + times)
      }
      await until('those arrived too', () =>
        names.every((name, nth) => name === 'only_b' || sinks[name]!.taken.length >= beforePassing[nth]! + 24),
      )
      await until('nothing is pending', async () => (await restored.query('select from postrider.pending')).rowCount === 0)
      await until('one event waits for its year', async () => {
        const { rows } = await restored.query<{ state: string }>('select distinct state from postrider.deliveries')
        return rows.length === 1 && rows[0]?.state === 'scheduled'
      })
      for (const relay of relays) await relay.stop()
      expect(names.map((name) => sinks[name]!.taken.length)).toEqual(
        names.map((name, nth) => beforePassing[nth]! + (name === 'only_b' ? 0 : 24)),
      )
    },
  )

  test('a relay that runs on while its database is replaced by a restored one anchors it, and goes on', async () => {
    const folder = await directory()
    const dataDir = join(folder, 'data')
    const here = await start({ dataDir })
    const client = await connect(here.url)
    await burn(client, 5_000)
    await migrate(client)
    await using receiver = await startReceiver()
    await using relay = await startRelay(here.url, receiver, {
      leaseMs: 2_000,
      watch: ['postrider:anchored'],
      sink: { lanes: 2 },
    })
    const ids: string[] = []
    for (let n = 1; n <= 5; n++) ids.push(await emit(client, 'k', n))
    await until('the first arrived', () => receiver.distinct === 5)
    await until('they are settled', async () => (await client.query('select from postrider.pending')).rowCount === 0)
    relay.kill('SIGSTOP') // so that the rest is undone for sure
    for (let n = 6; n <= 10; n++) ids.push(await emit(client, 'k', n))
    await tools.run('pg_dump', '-Fc', '-f', join(folder, 'shop.dump'), '-d', here.url)
    await here.stop()
    await rm(dataDir, { recursive: true })
    relay.kill('SIGCONT')

    await using there = await start({ port: here.port })
    expect(there.url).toBe(here.url)
    const restored = await connect(there.url)
    await tools.run('pg_restore', '-d', there.url, join(folder, 'shop.dump'))
    for (let n = 11; n <= 15; n++) ids.push(await emit(restored, 'k', n))
    await until('it has anchored', () => relay.told('postrider:anchored').length === 1)
    expect(relay.told('postrider:anchored')[0]!.message).toMatchObject({ events: 5, missing: 0 })
    await until('all arrived', () => receiver.distinct === 15)
    expect(receiver.taken.map(({ id }) => id)).toEqual(ids)
    expect(receiver.complaints).toEqual([])
    await relay.stop()
  }, 60_000)

  test('pg_basebackup of a database at work: the copy loses nothing and keeps the order, without being anchored', async () => {
    const folder = await directory()
    await using here = await start()
    const client = await connect(here.url)
    await migrate(client)
    await using receiver = await startReceiver()
    await using relay = await startRelay(here.url, receiver, { pageSize: 20, sink: { lanes: 4 } })
    await using writers = await startWriters(here.url)
    await until('it works', () => receiver.distinct > 200)
    await tools.run('pg_basebackup', '--checkpoint=fast', '-X', 'stream', '-D', join(folder, 'copy'), '-d', here.url)
    const more = receiver.distinct + 100
    await until('it works on', () => receiver.distinct > more)
    await writers.stop()
    await relay.stop('hard')
    await here.stop()

    await using there = await start({ dataDir: join(folder, 'copy') })
    await using again = await startReceiver()
    await using next = await startRelay(there.url, again, { pageSize: 20, watch: ['postrider:anchored'], sink: { lanes: 4 } })
    await using rest = await startWriters(there.url, { total: 300 })
    await rest.done
    const copy = await connect(there.url)
    const inCopy = async (): Promise<Written[]> =>
      (await copy.query<Written>(`select id, key, (payload ->> 'n')::int as n from postrider.events order by position`)).rows
    const committed = await inCopy()
    const ids = new Set(committed.map(({ id }) => id))
    const taken = (): Written[] => [...receiver.taken.filter(({ id }) => ids.has(id)), ...again.taken]
    await until('everything arrived', () => new Set(taken().map(({ id }) => id)).size >= committed.length, 30_000)
    await next.stop()
    expect(receiver.taken.length).toBeGreaterThan(taken().length - again.taken.length) // the copy is older than its end
    expect(faultsOf(committed, taken())).toEqual(faultless)
    expect(again.complaints).toEqual([])
    expect(next.told('postrider:anchored')).toEqual([])
  }, 90_000)
})
