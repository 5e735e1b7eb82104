import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { fail, ok, warn, type Check, type Finding } from './check.ts'

const roundTripMs = 2_000

export const notifyQueue: Check = {
  name: 'notify queue',
  needsSchema: false,
  async look({ ask }) {
    const [row] = await ask<{ usage: number }>('select pg_notification_queue_usage() as usage')
    const usage = row?.usage ?? 0
    const message = `the queue of notifications is ${Math.round(usage * 100)} % full`
    const fix = `End the session that listens and stays in a transaction: select pid, now() - xact_start as age, query from pg_stat_activity where xact_start is not null order by xact_start;`
    if (usage > 0.5) return fail(`${message}; when it is full, every transaction that notifies fails`, fix)
    return usage > 0.1 ? warn(message, fix) : ok(message)
  },
}

/** A pooler in transaction mode takes LISTEN and never delivers. */
export const listen: Check = {
  name: 'listen',
  needsSchema: false,
  async look({ directUrl, url }) {
    if (directUrl === false) {
      return warn(
        'there is no direct connection (database.directUrl: false): relays look every pollMs',
        'Give database.directUrl an address that leads round the pooler.',
      )
    }
    return await roundTrip(directUrl, directUrl === url ? 'database.url' : 'database.directUrl')
  },
}

async function roundTrip(connectionString: string, setting: string): Promise<Finding> {
  const channel = `postrider_doctor_${randomBytes(6).toString('hex')}`
  const client = new pg.Client({
    connectionString,
    application_name: 'postrider doctor',
    connectionTimeoutMillis: 5_000,
    query_timeout: 5_000,
  })
  client.on('error', () => undefined)
  const heard = new Promise<boolean>((resolve) => {
    client.on('notification', () => resolve(true))
    setTimeout(() => resolve(false), roundTripMs + 5_000).unref()
  })
  try {
    await client.connect()
    await client.query(`listen ${channel}`)
    const began = performance.now()
    await client.query(`notify ${channel}`)
    const late = new Promise<boolean>((resolve) => setTimeout(() => resolve(false), roundTripMs).unref())
    if (await Promise.race([heard, late]))
      return ok(`a notification came back after ${Math.max(1, Math.round(performance.now() - began))} ms`)
    return warn(
      `no notification comes through ${setting}: behind a pooler in transaction mode relays can only look every pollMs`,
      'Give database.directUrl an address that leads round the pooler.',
    )
  } catch (error) {
    return fail(
      `${setting} does not take connections: ${error instanceof Error ? error.message : String(error)}`,
      'Mend the address, or say directUrl: false.',
    )
  } finally {
    await client.end().catch(() => undefined)
  }
}
