/**
 * A log with retention at work: does its size stay the same, and what do producers notice?
 *
 * Writers emit at a fixed rate while a relay delivers to a sink that takes everything. Turns with retention (a segment is looked
 * for every second, as by the chore of a relay) and without it follow one another in the order ABBA, so that both meet the
 * same machine.
 */
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import type pg from 'pg'
import type { Bench, Result, Row, Say } from './bench.ts'
import type { Given } from './given.ts'
import { percentilesOf } from './percentiles.ts'
import type { FromRelayWorker, RelayWorkerData } from './relay-worker.ts'
import { startServer } from './server.ts'

/** Events of one emit: each is one transaction. */
const batch = 5
const ring = { slots: 4, width: '10 seconds', keep: '10 seconds' }
const payload = { note: 'x'.repeat(150) }

export const bench: Bench = {
  name: 'retention',
  about: 'a log that is written and emptied all the time: its size, and what producers notice of it',
  options: {
    rounds: {
      type: 'string',
      default: '1',
      quick: '1',
      about: 'one run, in which turns with and without retention follow one another',
    },
    events: { type: 'string', default: '1000000', quick: '5000', about: 'at the most' },
    rate: { type: 'string', default: '7000', quick: '1000', about: 'events a second' },
    writers: { type: 'string', default: '4', about: 'connections that write' },
    turn: { type: 'string', default: '12', quick: '1', about: 'seconds of each turn' },
    seconds: { type: 'string', default: '300', quick: '8', about: 'writing ends after this time, whatever has been written' },
    rest: { type: 'string', default: '25', quick: '2', about: 'seconds after writing, in which the last segments are emptied' },
  },
  run: measure,
}

type Mode = 'with' | 'without' | 'after'

async function measure(given: Given, say: Say): Promise<Result> {
  const [most, rate, writers] = [given.number('events'), given.number('rate'), given.number('writers')]
  const [turnSeconds, mostSeconds] = [given.number('turn'), given.number('seconds')]
  await using server = await startServer({ checkpoint_timeout: '1min' })
  await using database = await server.database()
  const { client } = database
  await client.query('call postrider.set_segments($1, $2, $3)', [ring.slots, ring.width, ring.keep])
  await using relay = startWorker({
    // Its own chores rest: retention is done here, in the turns that have it.
    options: { connectionString: database.url, choreMs: 600_000 },
    sinks: ['mill'],
    most: most + batch * writers,
  })

  let written = 0
  const started = performance.now()
  const seconds = (): number => (performance.now() - started) / 1_000
  const isWriting = (): boolean => written < most && seconds() < mostSeconds
  const modeNow = (): Mode => {
    if (!isWriting()) return 'after'
    const turn = Math.floor(seconds() / turnSeconds) % 4
    return turn === 0 || turn === 3 ? 'with' : 'without'
  }

  const emitTimes: Record<Mode, number[]> = { with: [], without: [], after: [] }
  const recycling = { emptied: [] as number[], nothing: [] as number[], locked: 0, kept: 0 }
  const produce = async (): Promise<void> => {
    const producer = await database.connect()
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
      // What spans the end of a turn belongs to neither.
      if (mode === modeNow()) emitTimes[mode].push(performance.now() - began)
    }
  }
  const over = new AbortController()
  const retain = async (): Promise<void> => {
    const recycler = await database.connect()
    for (; !over.signal.aborted; await sleep(1_000)) {
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
  const samples: string[] = []
  let largestMb = 0
  const sample = async (): Promise<void> => {
    const { eventsMb, attemptsMb } = await sizesOf(client)
    largestMb = Math.max(largestMb, eventsMb + attemptsMb)
    const line = `${Math.round(seconds())} s, ${modeNow()}: ${written} written, events ${eventsMb} MB, attempts ${attemptsMb} MB`
    samples.push(line)
    say(line)
  }
  const watch = async (): Promise<void> => {
    for (; !over.signal.aborted; await sleep(5_000)) await sample()
  }

  const beside = Promise.all([retain(), watch()])
  beside.catch(() => over.abort())
  await Promise.all(Array.from({ length: writers }, produce))
  const tookSeconds = seconds()
  for (const until = performance.now() + 60_000; performance.now() < until && (await relay.delivered()) < written;)
    await sleep(100)
  const got = await relay.delivered()
  await sleep(1_000 * given.number('rest'))
  over.abort()
  await beside
  await sample()
  if (got !== written) throw new Error(`${written - got} of ${written} events were not delivered within a minute`)

  const row = (what: string, times: readonly number[]): Row[] => {
    if (times.length === 0) return []
    const { calls, p50, p99, p999, max } = percentilesOf(times)
    return [{ what, calls, 'p50 ms': p50, 'p99 ms': p99, 'p99.9 ms': p999, 'most ms': max }]
  }
  return {
    versions: server.versions,
    postgres: server.postgres,
    settings: { rate, writers, batch, turnSeconds, ...ring },
    rows: [
      ...row('emit, with retention', emitTimes.with),
      ...row('emit, without', emitTimes.without),
      ...row('a segment emptied', recycling.emptied),
      ...row('nothing due', recycling.nothing),
    ],
    notes: [
      `${written} written at ${Math.round(written / tookSeconds)}/s, all delivered; ${relay.faults()} faults of the relay`,
      `log and attempts together had ${Math.round(largestMb)} MB at the most; a lock was not free ${recycling.locked} times, ${recycling.kept} events were kept`,
      ...samples,
    ],
  }
}

interface RelayThread extends AsyncDisposable {
  /** Different events that it has delivered. */
  delivered(): Promise<number>
  faults(): number
}

function startWorker(data: RelayWorkerData): RelayThread {
  const worker = new Worker(new URL('relay-worker.ts', import.meta.url), { workerData: data })
  let faults = 0
  worker.on('message', (message: FromRelayWorker) => {
    if (typeof message === 'object' && 'fault' in message && faults++ === 0) process.stderr.write(`${message.fault}\n`)
  })
  const delivered = async (): Promise<number> => {
    const answer = once(worker, 'message') as Promise<[FromRelayWorker]>
    worker.postMessage('count')
    const [message] = await answer
    return typeof message === 'object' && 'count' in message ? message.count : await delivered()
  }
  return {
    delivered,
    faults: () => faults,
    async [Symbol.asyncDispose]() {
      const ended = once(worker, 'exit')
      worker.postMessage('stop')
      const late = new AbortController()
      await Promise.race([ended, sleep(30_000, undefined, { signal: late.signal }).catch(() => undefined)])
      late.abort()
      await worker.terminate()
    },
  }
}

/** With their indexes, to a tenth. */
async function sizesOf(client: pg.Client): Promise<{ readonly eventsMb: number; readonly attemptsMb: number }> {
  const { rows } = await client.query<{ events: number; attempts: number }>(
    `select sum(pg_total_relation_size(inhrelid)) filter (where inhparent = 'postrider.events'::regclass)::float8 as events,
       sum(pg_total_relation_size(inhrelid)) filter (where inhparent = 'postrider.attempts'::regclass)::float8 as attempts
     from pg_inherits`,
  )
  const tenth = (bytes: number): number => Math.round(bytes / 1e5) / 10
  const { events, attempts } = rows[0]!
  return { eventsMb: tenth(events), attemptsMb: tenth(attempts) }
}
