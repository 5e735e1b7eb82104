/**
 * A log with retention at work: does its size stay the same, and what do producers notice?
 *
 *   node --conditions=@postrider/source test/bench/retention.ts [--events 1000000] [--rate 7000] [--writers 4] [--round 12] [--seconds 300]
 *
 * Writers emit at a fixed rate while a relay delivers to a sink that takes everything, on a PostgreSQL of its own that
 * writes durably. Rounds with retention (a segment is looked for every second, as by the chore of a relay) and without it
 * take turns, in the order ABBA, so that both meet the same machine.
 */
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import { migrate } from '@postrider/migrations'
import pg from 'pg'
import { startPostgres } from '../postgres/embedded.ts'
import { describeMachine } from './machine.ts'
import { percentilesOf } from './percentiles.ts'
import type { FromRelayWorker, RelayWorkerData } from './relay-worker.ts'

const { values } = parseArgs({
  options: {
    events: { type: 'string', default: '1000000' },
    rate: { type: 'string', default: '7000' },
    writers: { type: 'string', default: '4' },
    round: { type: 'string', default: '12' },
    /** Writing ends after this time, whatever has been written. */
    seconds: { type: 'string', default: '300' },
  },
})
const [most, rate, writers, roundSeconds, mostSeconds] = [
  values.events,
  values.rate,
  values.writers,
  values.round,
  values.seconds,
].map(Number) as [number, number, number, number, number]
/** Events of one emit: each is one transaction. */
const batch = 5
const ring = { slots: 4, width: '10 seconds', keep: '10 seconds' }
const payload = { note: 'x'.repeat(150) }

await using server = await startPostgres({
  settings: { fsync: true, full_page_writes: true, shared_buffers: '256MB', max_wal_size: '2GB', checkpoint_timeout: '1min' },
})
const clients: pg.Client[] = []
const client = await connect()
await migrate(client)
await client.query('call postrider.set_segments($1, $2, $3)', [ring.slots, ring.width, ring.keep])
const machine = await describeMachine(client)
console.log(
  `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGb} GB, Linux ${machine.kernel}, load before ${machine.loadBefore}`,
)
console.log(`Node ${machine.node}, PostgreSQL ${machine.postgres}, ${JSON.stringify(machine.settings)}`)
console.log(
  `${most} events of about 250 bytes, ${rate}/s in transactions of ${batch} on ${writers} connections; ` +
    `${ring.slots} segments of ${ring.width}, kept for ${ring.keep}; rounds of ${roundSeconds} s\n`,
)

const data: RelayWorkerData = {
  // Its own chores rest: retention is done here, in the rounds that have it.
  options: { connectionString: server.url, choreMs: 600_000 },
  sinks: ['mill'],
  most,
}
const relay = new Worker(new URL('relay-worker.ts', import.meta.url), { workerData: data })
let faults = 0
relay.on('message', (message: FromRelayWorker) => {
  if (typeof message === 'object' && 'fault' in message && faults++ === 0) console.error(message.fault)
})

type Mode = 'with' | 'without' | 'after'
let written = 0
const started = performance.now()
const seconds = (): number => (performance.now() - started) / 1_000
const isWriting = (): boolean => written < most && seconds() < mostSeconds
const modeNow = (): Mode => {
  if (!isWriting()) return 'after'
  const round = Math.floor(seconds() / roundSeconds) % 4
  return round === 0 || round === 3 ? 'with' : 'without'
}

const emitTimes: Record<Mode, number[]> = { with: [], without: [], after: [] }
const recycling = { emptied: [] as number[], nothing: [] as number[], locked: 0, kept: 0 }
async function produce(): Promise<void> {
  const producer = await connect()
  const everyMs = (1_000 * batch * writers) / rate
  for (let due = performance.now(); isWriting(); due += everyMs) {
    // One that is late does not make up for it: the rate falls, and no queue of its own is measured.
    due = Math.max(due, performance.now() - everyMs)
    await sleep(Math.max(0, due - performance.now()))
    const from = written + 1
    written += batch
    const events = Array.from({ length: batch }, (_, index) => ({
      type: 'bench.made',
      key: `k${(from + index) % 10_000}`,
      payload: { n: from + index, ...payload },
    }))
    const mode = modeNow()
    const began = performance.now()
    await producer.query({
      name: 'emit',
      text: 'select count(*) from postrider.emit($1::text::jsonb)',
      values: [JSON.stringify(events)],
    })
    // What spans the end of a round belongs to neither.
    if (mode === modeNow()) emitTimes[mode].push(performance.now() - began)
  }
}

async function retain(isOver: () => boolean): Promise<void> {
  const recycler = await connect()
  for (; !isOver(); await sleep(1_000)) {
    if (modeNow() === 'without') continue
    const began = performance.now()
    const { rows } = await recycler.query<{ slot: number | null; result: string; kept: number }>(
      'select * from postrider.recycle_next()',
    )
    const { slot, result, kept } = rows[0]!
    if (slot === null) recycling.nothing.push(performance.now() - began)
    else if (result === 'recycled') recycling.emptied.push(performance.now() - began)
    else recycling.locked++
    recycling.kept += kept ?? 0
  }
}

interface Sample {
  readonly second: number
  readonly mode: Mode
  readonly written: number
  readonly eventsMb: number
  readonly eventIndexesMb: number
  readonly attemptsMb: number
  readonly attemptIndexesMb: number
}

const samples: Sample[] = []
async function measure(): Promise<void> {
  const { rows } = await client.query<{ parent: string; heap: number; indexes: number }>(
    `select inhparent::regclass::text as parent, sum(pg_table_size(inhrelid))::float8 / 1e6 as heap, sum(pg_indexes_size(inhrelid))::float8 / 1e6 as indexes
     from pg_inherits where inhparent in ('postrider.events'::regclass, 'postrider.attempts'::regclass) group by 1 order by 1 desc`,
  )
  const [events, attempts] = rows
  const tenth = (mb: number): number => Math.round(mb * 10) / 10
  const sample = {
    second: Math.round(seconds()),
    mode: modeNow(),
    written,
    eventsMb: tenth(events!.heap),
    eventIndexesMb: tenth(events!.indexes),
    attemptsMb: tenth(attempts!.heap),
    attemptIndexesMb: tenth(attempts!.indexes),
  }
  samples.push(sample)
  console.log(
    `${String(sample.second).padStart(4)} s ${sample.mode.padEnd(7)} ${String(sample.written).padStart(8)} written; ` +
      `events ${sample.eventsMb} + indexes ${sample.eventIndexesMb} MB, attempts ${sample.attemptsMb} + ${sample.attemptIndexesMb} MB`,
  )
}

async function delivered(): Promise<number> {
  const answer = once(relay, 'message') as Promise<[FromRelayWorker]>
  relay.postMessage('count')
  const [message] = await answer
  return typeof message === 'object' && 'count' in message ? message.count : await delivered()
}

let over = false
const retaining = retain(() => over)
const measuring = (async () => {
  for (; !over; await sleep(5_000)) await measure()
})()
await Promise.all(Array.from({ length: writers }, produce))
const tookSeconds = seconds()
const total = written
for (const until = performance.now() + 60_000; performance.now() < until && (await delivered()) < total;) await sleep(100)
const got = await delivered()
// The last segments become old enough, and are emptied too.
await sleep(25_000)
over = true
await Promise.all([retaining, measuring])
await measure()
const stopped = once(relay, 'exit')
relay.postMessage('stop')
await stopped
await Promise.all(clients.map((one) => one.end()))

const result = {
  benchmark: 'retention',
  at: new Date().toISOString(),
  machine,
  given: { events: most, rate, writers, batch, roundSeconds, ring },
  written: total,
  tookSeconds: Math.round(tookSeconds),
  eventsPerSecond: Math.round(total / tookSeconds),
  delivered: got,
  lost: total - got,
  relayFaults: faults,
  emitMs: { withRetention: percentilesOf(emitTimes.with), without: percentilesOf(emitTimes.without) },
  recycleMs: {
    emptied: percentilesOf(recycling.emptied),
    nothingDue: percentilesOf(recycling.nothing),
    lockNotFree: recycling.locked,
    kept: recycling.kept,
  },
  largestMb: Math.max(...samples.map((s) => Math.round(s.eventsMb + s.eventIndexesMb + s.attemptsMb + s.attemptIndexesMb))),
  samples,
}
console.log(`\n${got} delivered, ${total - got} lost; ${result.eventsPerSecond} events/s`)
console.table({
  'emit, with retention': result.emitMs.withRetention,
  'emit, without': result.emitMs.without,
  'a segment emptied': result.recycleMs.emptied,
  'nothing due': result.recycleMs.nothingDue,
})
console.log(JSON.stringify(result))
if (got !== total) process.exitCode = 1

async function connect(): Promise<pg.Client> {
  const opened = new pg.Client({ connectionString: server.url, connectionTimeoutMillis: 10_000 })
  opened.on('error', () => {}) // the statement that was running rejects
  await opened.connect()
  clients.push(opened)
  return opened
}
