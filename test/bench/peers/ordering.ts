/** The same hard cases for every system, each set for its best order per key; a recorder outside of them judges. */
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import type { Bench, Row } from '../bench.ts'
import { startServer, type BenchDatabase } from '../server.ts'
import { installPeers } from './install.ts'
import { judge } from './judge.ts'
import { startRecorder, type Answer } from './recorder.ts'
import type { Producer, System } from './system.ts'
import { systemNames, systems, type SystemName } from './systems.ts'
import { startPeerWorker, untilDone, type PeerWorker } from './worker.ts'

const concurrency = 16
const retryStatus = 500

/** A situation in which order may be lost. */
interface Case {
  readonly name: string
  readonly jobsOfKey: number
  readonly workers: 1 | 2
  /** Jobs after which the worker is killed; another takes its place. */
  readonly killAfter?: number
  readonly write: (database: BenchDatabase, producer: Producer, keys: readonly string[], jobsOfKey: number) => Promise<void>
  readonly answer: (key: string, n: number, attempt: number) => Answer
}

const cases = {
  older: {
    name: 'an older transaction writes later, under the lock of the same row',
    jobsOfKey: 2,
    workers: 1,
    write: writeFromOlder,
    answer: () => ({ status: 204, afterMs: 0 }),
  },
  retry: {
    name: 'the first of a key fails once',
    jobsOfKey: 5,
    workers: 1,
    write: writeInTurns,
    answer: (_key, n, attempt) => ({ status: n === 1 && attempt === 1 ? retryStatus : 204, afterMs: 2 }),
  },
  crash: {
    name: 'the worker is killed in the middle, another takes over',
    jobsOfKey: 10,
    workers: 1,
    killAfter: 50,
    write: writeInTurns,
    answer: () => ({ status: 204, afterMs: 5 }),
  },
  'two workers': {
    name: 'two workers',
    jobsOfKey: 10,
    workers: 2,
    write: writeInTurns,
    answer: (key, n) => ({ status: 204, afterMs: (key.length * 7 + n * 13) % 10 }),
  },
} as const satisfies Readonly<Record<string, Case>>

type CaseName = keyof typeof cases

const caseNames = Object.keys(cases) as readonly CaseName[]

interface Outcome {
  brokenKeys: number
  missing: number
  repeats: number
  seconds: number
}

export const bench: Bench = {
  name: 'ordering',
  about: 'who keeps the order per key: an older transaction that writes later, a retry, a killed worker, two workers',
  options: {
    systems: { type: 'string', default: systemNames.join(','), about: 'who takes part' },
    cases: { type: 'string', default: caseNames.join(','), about: 'which cases' },
    keys: { type: 'string', default: '20', quick: '5', about: 'ordering keys' },
    limit: { type: 'string', default: '45', quick: '20', about: 'seconds after which what has not come counts as missing' },
    rounds: { type: 'string', default: '1', about: 'how often each case is run; counts are sums' },
  },
  async run(given, say) {
    const asked = given.words('systems', systemNames)
    const missing = await installPeers(asked, say)
    const wanted = asked.filter((name) => !missing.has(name))
    const keys = Array.from({ length: given.number('keys') }, (_, index) => `key-${index}`)
    const limitMs = 1_000 * given.number('limit')
    await using server = await startServer()
    const entrants = new Map<SystemName, System>()
    for (const name of wanted) {
      const system = await systems[name](true)
      entrants.set(name, system)
      await server.template(templateOf(name), async (url, client) => {
        await client.query('create table accounts (key text primary key, n int not null default 0)')
        await client.query('insert into accounts (key) select unnest($1::text[])', [keys])
        await system.prepare(url)
      })
    }
    const totals = new Map<string, Outcome>()
    for (let round = 1; round <= given.rounds; round++) {
      for (const caseName of given.words('cases', caseNames)) {
        for (const [name, system] of entrants) {
          await using database = await server.database(templateOf(name))
          const outcome = await run(cases[caseName], name, system, database, keys, limitMs)
          add(totals, `${caseName}/${name}`, outcome)
          say(`round ${round} of ${given.rounds}: ${caseName}, ${name}: ${JSON.stringify(outcome)}`)
        }
      }
    }
    const rows = given.words('cases', caseNames).flatMap((caseName) =>
      wanted.map((name): Row => {
        const { brokenKeys, missing, repeats, seconds } = totals.get(`${caseName}/${name}`)!
        const of = keys.length * given.rounds
        const order = brokenKeys === 0 ? 'kept' : `broken for ${brokenKeys} of ${of} keys`
        const late = missing === 0 ? '' : `${missing} of ${of * cases[caseName].jobsOfKey}`
        return { case: cases[caseName].name, system: name, order, 'not delivered': late, repeats, 'most seconds': seconds }
      }),
    )
    const versions = Object.fromEntries([...entrants].map(([name, { version }]) => [name, version]))
    const settings = Object.fromEntries([...entrants].map(([name, { settings }]) => [name, `(${settings})`]))
    return {
      versions: { ...server.versions, ...versions },
      settings: { keys: keys.length, concurrency, limitSeconds: limitMs / 1_000, ...settings },
      rows,
      notes: [
        ...[...missing].map(([name, why]) => `${name} is missing: ${why}`),
        'broken: a job came before the one in front of it in its key had been accepted; repeats are allowed',
        `not delivered: within ${limitMs / 1_000} s`,
        'all jobs are written before the worker starts, so that it has a choice',
      ],
    }
  },
}

async function run(
  one: Case,
  name: SystemName,
  system: System,
  database: BenchDatabase,
  keys: readonly string[],
  limitMs: number,
): Promise<Outcome> {
  await using stack = new AsyncDisposableStack()
  const recorder = stack.use(await startRecorder(one.answer))
  {
    await using producer = await system.produce(database.url)
    await one.write(database, producer, keys, one.jobsOfKey)
  }
  const workers: PeerWorker[] = []
  for (let nr = 0; nr < one.workers; nr++) workers.push(stack.use(await startPeerWorker(name, true)))
  const start = (worker: PeerWorker): Promise<void> =>
    worker.start({ url: database.url, target: recorder.url, concurrency, most: 0 })
  const total = keys.length * one.jobsOfKey
  const begun = performance.now()
  await Promise.all(workers.map(start))
  const accepted = async (): Promise<number> => recorder.accepted
  if (one.killAfter !== undefined) {
    await untilDone(accepted, Math.min(one.killAfter, Math.floor(total / 2)), limitMs)
    await workers[0]!.kill()
    await start(workers[0]!)
  }
  await untilDone(accepted, total, limitMs)
  const seconds = Math.round((performance.now() - begun) / 100) / 10
  await sleep(200) // a repeat that was on its way
  return { ...judge(recorder.arrivals, keys, one.jobsOfKey), seconds }
}

/** Of each key the first, then of each the second, …: every job in a transaction with the row of its key. */
async function writeInTurns(
  { client }: BenchDatabase,
  producer: Producer,
  keys: readonly string[],
  jobsOfKey: number,
): Promise<void> {
  for (let n = 1; n <= jobsOfKey; n++) {
    for (const key of keys) {
      await client.query('begin')
      await writeOne(client, producer, key, n)
      await client.query('commit')
    }
  }
}

/**
 * Two transactions for each key. The one that began first has written something else, and comes to the row of the key last, after
 * the other has committed: both took the same lock, so there is no doubt which change was first.
 */
async function writeFromOlder(database: BenchDatabase, producer: Producer, keys: readonly string[]): Promise<void> {
  const [older, younger] = [await database.connect(), await database.connect()]
  await older.query('create table notes (key text)')
  for (const key of keys) {
    await older.query('begin')
    await older.query('insert into notes values ($1)', [key])
    await younger.query('begin')
    await writeOne(younger, producer, key, 1)
    await younger.query('commit')
    await writeOne(older, producer, key, 2)
    await older.query('commit')
  }
}

async function writeOne(client: pg.ClientBase, producer: Producer, key: string, n: number): Promise<void> {
  await client.query('update accounts set n = $2 where key = $1', [key, n])
  await producer.enqueue(client, { key, payload: { n, pad: key } })
}

function add(totals: Map<string, Outcome>, name: string, outcome: Outcome): void {
  const sum = totals.get(name)
  if (sum === undefined) totals.set(name, { ...outcome })
  else {
    sum.brokenKeys += outcome.brokenKeys
    sum.missing += outcome.missing
    sum.repeats += outcome.repeats
    sum.seconds = Math.max(sum.seconds, outcome.seconds)
  }
}

function templateOf(name: SystemName): string {
  return `ordering_${name.replaceAll(/\W/g, '_')}`
}
