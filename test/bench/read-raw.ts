import type pg from 'pg'
import type { Figures } from './rounds.ts'

/** As text in arrays, nothing parsed; or as `pg` gives rows when nobody asks for anything else. */
export type RawForm = 'text arrays' | 'jsonb objects'

const columns = 'position, id, type, key, source, subject, tenant, content_type, created_at'

/**
 * Reads a filled log from its beginning to its end in pages and does nothing with it: no cursor, no deliveries. What it reaches is
 * what one connection of a relay could read at most.
 */
export async function readRaw(client: pg.Client, pageSize: number, form: RawForm): Promise<Figures> {
  const asText = form === 'text arrays'
  const payload = asText ? 'headers::text, payload::text' : 'headers, payload'
  const text = `select ${columns}, ${payload} from postrider.events where position > $1 order by position limit $2`
  const query = {
    name: `read_raw_${asText ? 'text' : 'json'}`,
    text,
    ...(asText ? { rowMode: 'array', types: { getTypeParser: () => (value: unknown) => value } } : {}),
  }
  let [rows, last] = [0, '0']
  const begun = performance.now()
  for (;;) {
    const page = await client.query({ ...query, values: [last, pageSize] })
    const end = page.rows.at(-1) as readonly string[] | { readonly position: string } | undefined
    if (end === undefined) break
    rows += page.rows.length
    last = 'position' in end ? end.position : end[0]!
  }
  return { 'per second': (1_000 * rows) / (performance.now() - begun) }
}
