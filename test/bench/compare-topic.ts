import { createHash } from 'node:crypto'
import { openKafkaDriver } from '@postrider/kafka'
import type pg from 'pg'

/** What a comparison of the whole log with a topic came to; by other code than that of `postrider graduate verify`. */
export interface TopicParity {
  readonly equal: boolean
  readonly inLog: number
  readonly inTopic: number
  readonly repeated: number
  readonly missing: number
  readonly altered: number
  readonly disordered: number
}

/** Every event of the log against every record of a topic: there, the same bytes, and of each key the same order. */
export async function compareTopic(client: pg.Client, brokers: readonly string[], topic: string): Promise<TopicParity> {
  const hashOf = (bytes: string | Buffer): string => createHash('md5').update(bytes).digest('base64')
  const log = new Map<string, { nth: number; key: string; hash: string; times: number }>()
  for (let position = 0; ;) {
    const { rows } = await client.query<{ position: string; id: string; key: string; payload: string }>(
      'select position, id, key, payload::text as payload from postrider.events where position > $1 order by position limit 20000',
      [position],
    )
    for (const { id, key, payload } of rows) log.set(id, { nth: log.size, key, hash: hashOf(payload), times: 0 })
    if (rows.length === 0) break
    position = Number(rows.at(-1)?.position)
  }
  await using driver = await openKafkaDriver({ brokers })
  const signal = AbortSignal.timeout(120_000)
  const newest = new Map<string, number>()
  let [inTopic, repeated, altered, disordered] = [0, 0, 0, 0]
  for (const [partition, { first, next }] of await driver.bounds(topic, signal)) {
    for await (const { headers, value } of driver.read(topic, partition, first, next, signal)) {
      inTopic++
      const event = log.get(headers.get('ce_id')?.toString() ?? '')
      if (event === undefined || hashOf(value ?? '') !== event.hash) altered++
      if (event === undefined) continue
      if (++event.times > 1) repeated++
      else if (event.nth < (newest.get(event.key) ?? -1)) disordered++
      else newest.set(event.key, event.nth)
    }
  }
  const missing = [...log.values()].filter(({ times }) => times === 0).length
  return { equal: missing + altered + disordered === 0, inLog: log.size, inTopic, repeated, missing, altered, disordered }
}
