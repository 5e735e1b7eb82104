/** The commands about Kafka in the pages are run as a reader runs them: against PostgreSQL and a broker, with a relay. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { openKafkaAdmin } from '@postrider/kafka'
import { generateSecret } from '@postrider/webhook'
import { describe, expect, onTestFinished, test } from 'vitest'
import { parse } from 'yaml'
import { blocksOf, kindOf } from './docs/kinds.ts'
import { openShell } from './docs/shell.ts'
import { sharedKafka } from './kafka/index.ts'
import { testDatabase } from './postgres/index.ts'
import { until } from './until.ts'

const { kafka, reason } = sharedKafka()
const pages = new Map(blocksOf('shell with Kafka').map(({ page }) => [page.path, page]))

describe.skipIf(kafka === null)(`with a Kafka (${reason})`, () => {
  test.each([...pages.values()])(
    'every command about Kafka of $path does what it says, in the order of the page',
    async (page) => {
      await using db = await testDatabase()
      const brokers = kafka?.bootstrap ?? []
      const client = await db.client()
      await client.query(
        `select postrider.emit(jsonb_build_object('type', 'order.placed', 'key', 'o-' || n % 5, 'payload', '{}'::jsonb)) from generate_series(1, 20) as n`,
      )
      const server = createServer((request, response) => {
        request.resume()
        response.writeHead(204).end()
      }).listen(0, '127.0.0.1')
      onTestFinished(() => {
        server.closeAllConnections()
        server.close()
      })
      await once(server, 'listening')

      // Only addresses and names that are shared with other tests differ from what a reader has.
      const prefix = `docs-${randomBytes(4).toString('hex')}`
      const [shown] = page.blocks
        .filter((block) => kindOf(block) === 'part of a configuration')
        .map(({ text }) => parse(text) as Shown)
      const billing = {
        kind: 'webhook',
        url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
        trust: 'internal',
        allow: ['127.0.0.1'],
        secrets: { current: '${env:BILLING_SECRET}' },
      }
      const configuration = {
        health: { port: 0 },
        sinks: { billing, 'main-kafka': { ...shown?.sinks['main-kafka'], brokers, prefix } },
      }
      await using admin = await openKafkaAdmin({ brokers })
      onTestFinished(async () => {
        await using cleaner = await openKafkaAdmin({ brokers })
        await cleaner.deleteTopic(`${prefix}.order`)
      })

      await using shell = await openShell()
      await writeFile(join(shell.directory, 'postrider.config.json'), JSON.stringify(configuration))
      const env = { POSTRIDER_DATABASE_URL: db.url, BILLING_SECRET: generateSecret() }
      let carried = false
      for (const block of page.blocks) {
        if (kindOf(block) !== 'shell with Kafka') continue
        if (block.name.includes('relay') && !carried) {
          const relay = shell.start('npx postrider start', env)
          await relay.wrote('relay started')
          await until(
            'both sinks have all',
            async () => (await client.query('select from postrider.backlog where pending > 0')).rowCount === 0,
          )
          carried = true
        }
        const text = block.text.replaceAll('shop.order', `${prefix}.order`).replaceAll('billing-service', `${prefix}-service`)
        const typed = shell.start(text, env)
        expect(await typed.ended, `${page.path}:${block.line}: ${typed.output()}`).toBe(0)
      }
      expect(await admin.describeTopic(`${prefix}.order`)).toMatchObject({ partitions: { length: 6 } })
      const { rows } = await client.query('select state from postrider.cutovers order by id')
      expect(rows).toEqual(carried ? [{ state: 'rolled_back' }, { state: 'finished' }] : [])
    },
    240_000,
  )
})

interface Shown {
  readonly sinks: Readonly<Record<string, object>>
}
