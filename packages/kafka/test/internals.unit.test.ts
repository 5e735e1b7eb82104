import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { expect, it } from 'vitest'
import { kafkajsVersion, loadKafkajs } from '../src/kafkajs-internals.ts'

const require = createRequire(import.meta.url)

it('kafkajs is the version whose parts are known', () => {
  expect((require('kafkajs/package.json') as { version: string }).version).toBe(kafkajsVersion)
  expect(loadKafkajs().apiKeys).toMatchObject({ Produce: 0, Fetch: 1, Metadata: 3 })
})

// When this fails, kafkajs has changed what is changed here: look whether it still needs that, and how.
it('the queue of kafkajs that is taught to rest is the one that is known', async () => {
  const source = await readFile(require.resolve('kafkajs/src/network/requestQueue/index.js'))
  const method = source.toString().slice(source.toString().indexOf('  scheduleCheckPendingRequests() {'))
  expect(createHash('sha256').update(method).digest('hex').slice(0, 16)).toBe('7976f950024192e8')
})
