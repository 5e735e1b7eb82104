import pg from 'pg'
import { keyOf, payloadOf } from './payload.ts'

export interface Filling {
  readonly events: number
  /** Bytes of each payload. */
  readonly bytes: number
  readonly keys: number
  /** In one transaction, so that all of it is there at once. Default false. */
  readonly atOnce?: boolean
}

/** Of one call of emit: large enough that its round trip does not count, small enough for a parameter. */
const batchEvents = 1_000
const batchBytes = 2_000_000
const connections = 2

/** Writes a backlog by `emit`, numbered from 1, as fast as two connections can; or as one can, in one transaction. */
export async function fillLog(url: string, { events, bytes, keys, atOnce = false }: Filling): Promise<void> {
  const batch = Math.max(1, Math.min(batchEvents, Math.floor(batchBytes / bytes)))
  let next = 1
  const write = async (): Promise<void> => {
    const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 })
    client.on('error', () => {}) // the statement that was running rejects
    await client.connect()
    try {
      if (atOnce) await client.query('begin')
      while (next <= events) {
        const from = next
        next = Math.min(events + 1, from + batch)
        const some = Array.from({ length: next - from }, (_, index) => ({
          type: 'bench.made',
          key: keyOf(from + index, keys),
          payload: payloadOf(from + index, bytes),
        }))
        await client.query({
          name: 'fill',
          text: 'select count(*) from postrider.emit($1::text::jsonb)',
          values: [JSON.stringify(some)],
        })
      }
      if (atOnce) await client.query('commit')
    } finally {
      await client.end()
    }
  }
  await Promise.all(Array.from({ length: atOnce ? 1 : connections }, write))
}
