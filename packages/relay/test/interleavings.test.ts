import { testDatabase } from '@postrider/test/postgres'
import fc from 'fast-check'
import type pg from 'pg'
import { describe, expect, it } from 'vitest'
import { emit, RecordingSink, run, until } from './support.ts'

const writers = 4
const keys = ['x', 'y', 'z']

/** What writers do, in any order: each step is one statement of one of them. */
type Step =
  | { readonly writer: number; readonly do: 'emit'; readonly key: number }
  | { readonly writer: number; readonly do: 'begin' | 'commit' | 'rollback' | 'prepare' | 'savepoint' | 'rollback to' }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ writer: fc.nat(writers - 1), do: fc.constant('emit' as const), key: fc.nat(keys.length - 1) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      writer: fc.nat(writers - 1),
      do: fc.constantFrom('begin', 'commit', 'commit', 'rollback', 'prepare', 'savepoint', 'rollback to'),
    }),
  },
)

/** A writer as the model knows it: its open transaction, its locks, what it has emitted since which savepoint. */
class Writer {
  open = false
  readonly keys = new Set<string>()
  emitted: { key: string; n: number }[] = []
  saved: number | null = null

  forget(): void {
    this.open = false
    this.keys.clear()
    this.emitted = []
    this.saved = null
  }
}

/** Runs the steps that make sense, and returns what was committed, per key in the order of the row locks. */
async function act(clients: readonly pg.Client[], steps: readonly Step[], firstNumber: number): Promise<Map<string, number[]>> {
  const model = clients.map(() => new Writer())
  const committed = new Map<string, number[]>(keys.map((key) => [key, []]))
  let n = firstNumber
  let prepared = 0
  const finish = async (index: number, how: 'commit' | 'rollback' | 'prepare'): Promise<void> => {
    const writer = model[index]
    const client = clients[index]
    if (writer === undefined || client === undefined || !writer.open) return
    if (how === 'prepare') {
      const gid = `p${firstNumber}-${prepared++}`
      await client.query(`prepare transaction '${gid}'`)
      await client.query(`commit prepared '${gid}'`)
    } else await client.query(how)
    if (how !== 'rollback') for (const event of writer.emitted) committed.get(event.key)?.push(event.n)
    writer.forget()
  }

  for (const next of steps) {
    const writer = model[next.writer]
    const client = clients[next.writer]
    if (writer === undefined || client === undefined) continue
    switch (next.do) {
      case 'begin':
        if (writer.open) break
        await client.query('begin')
        await client.query('set local postrider.wake = off')
        if (next.writer % 2 === 0) await client.query('select pg_current_xact_id()')
        writer.open = true
        break
      case 'emit': {
        const key = keys[next.key] ?? ''
        if (!writer.open || model.some((other) => other !== writer && other.keys.has(key))) break
        await client.query('select 1 from aggregates where key = $1 for update', [key])
        writer.keys.add(key)
        await emit(client, key, n)
        writer.emitted.push({ key, n: n++ })
        break
      }
      case 'savepoint':
        if (!writer.open) break
        await client.query('savepoint s')
        writer.saved = writer.emitted.length
        break
      case 'rollback to':
        if (writer.saved === null) break
        await client.query('rollback to s')
        writer.emitted.length = writer.saved
        break
      case 'commit':
      case 'rollback':
      case 'prepare':
        await finish(next.writer, next.do)
        break
    }
  }
  for (const index of clients.keys()) await finish(index, index % 2 === 0 ? 'commit' : 'rollback')
  return committed
}

describe('any interleaving of writers', () => {
  it(
    'loses nothing, invents nothing, repeats nothing and keeps every key in order, whatever the page',
    { timeout: 600_000 },
    async () => {
      await using db = await testDatabase()
      const admin = await db.client()
      await admin.query('create table aggregates (key text primary key)')
      await admin.query(`insert into aggregates select unnest($1::text[])`, [keys])
      const clients = await Promise.all(Array.from({ length: writers }, () => db.client()))
      const sink = new RecordingSink()
      let number = 1
      const expected = new Map<string, number[]>(keys.map((key) => [key, []]))

      await fc.assert(
        fc.asyncProperty(
          fc.array(step, { minLength: 20, maxLength: 80 }),
          fc.constantFrom(1, 3, 500),
          async (steps, pageSize) => {
            await using _ = run(db.url, [{ sink, lanes: 2 }], { pageSize, pollMs: 50 })
            const committed = await act(clients, steps, number)
            number += 1_000
            for (const [key, numbers] of committed) expected.get(key)?.push(...numbers)
            const total = [...expected.values()].reduce((sum, numbers) => sum + numbers.length, 0)
            await until(() => sink.delivered.length >= total, `${total} events arrived, of them ${sink.delivered.length}`)
            for (const key of keys) expect(sink.numbers(key)).toEqual(expected.get(key))
          },
        ),
        { numRuns: Number(process.env['POSTRIDER_RUNS'] ?? 40), endOnFailure: true },
      )
      expect(sink.receipts.length).toBe(sink.delivered.length)
    },
  )
})
