import type pg from 'pg'
import { payloadOf } from './payload.ts'
import type { Figures } from './rounds.ts'

/** A table with nothing but a number and a payload. */
export async function makeRawTable(client: pg.Client): Promise<void> {
  await client.query('create table raw_events (id bigint generated always as identity primary key, payload jsonb not null)')
}

/**
 * Inserts rows, each in a transaction of its own, on so many connections as fast as they can: no business, no queue. What it
 * reaches is what a producer that commits every event by itself could reach at most.
 */
export async function insertRaw(clients: readonly pg.Client[], bytes: number, seconds: number): Promise<Figures> {
  const begun = performance.now()
  const until = begun + 1_000 * seconds
  let n = 0
  const insert = async (client: pg.Client): Promise<void> => {
    while (performance.now() < until) {
      const values = [JSON.stringify(payloadOf(++n, bytes))]
      await client.query({ name: 'insert_raw', text: 'insert into raw_events (payload) values ($1)', values })
    }
  }
  await Promise.all(clients.map(insert))
  return { 'per second': (1_000 * n) / (performance.now() - begun) }
}
