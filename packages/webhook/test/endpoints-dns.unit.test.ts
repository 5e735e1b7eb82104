import { expect, test } from 'vitest'
import type { SinkFamily } from '@postrider/relay'
import { createSealer, createWebhookEndpoints, generateSealKey } from '@postrider/webhook'
import { dnsServer } from './dns-server.ts'
import { deliver, secret } from './event.ts'
import { receiver } from './receiver.ts'

const silentHosts = 8
const deliveries = 100
const secretKey = generateSealKey()

/** How long a delivery takes that has to ask for its name first, each to another host. */
async function timesOf(family: SinkFamily, port: number): Promise<number[]> {
  const times: number[] = []
  for (let n = 0; n < deliveries; n++) {
    await using endpoint = open(family, `healthy${n}`, port)
    const begun = performance.now()
    expect(await deliver(endpoint)).toMatchObject({ kind: 'delivered' })
    times.push(performance.now() - begun)
  }
  return times.toSorted((a, b) => a - b)
}

function open(family: SinkFamily, name: string, port: number): ReturnType<SinkFamily['open']> {
  const place = `hooks/${name}`
  const sealed = createSealer({ current: secretKey }).seal(secret, place)
  return family.open({
    name: place,
    settings: { url: `http://${name}.test:${port}/`, secrets: { current: [sealed] }, headers: {}, format: null },
  })
}

const p99 = (times: readonly number[]): number => times[Math.ceil(times.length * 0.99) - 1] ?? Infinity

// The machine may be busy with something else at the wrong moment: then once more.
test('eight hosts whose name servers keep silent add at most 50 ms to the p99 of a healthy one', { retry: 2 }, async () => {
  await using server = await receiver()
  await using dns = await dnsServer((name, type) => (name.startsWith('silent') ? null : type === 'A' ? ['127.0.0.1'] : []))
  await using family = createWebhookEndpoints({
    name: 'hooks',
    trust: 'internal',
    allow: ['127.0.0.0/8'],
    dnsServers: [dns.address],
    timeouts: { dnsMs: 10_000, connectMs: 15_000 },
    secretKey,
  })
  await timesOf(family, server.port) // so that neither has to pay for what is done the first time
  const alone = p99(await timesOf(family, server.port))

  const silent = Array.from({ length: silentHosts }, (_, n) => open(family, `silent${n}`, server.port))
  const stop = new AbortController()
  let ended = 0
  // Two attempts at each, so that the second waits for the question of the first.
  const waiting = [...silent, ...silent].map(async (endpoint) => {
    await deliver(endpoint, {}, stop.signal)
    ended++
  })
  const beside = p99(await timesOf(family, server.port))
  expect(ended, 'all of them still wait for an answer').toBe(0)
  expect(new Set(dns.questions.filter((question) => question.startsWith('A silent'))).size).toBe(silentHosts)
  expect(beside - alone).toBeLessThanOrEqual(50)

  stop.abort()
  await Promise.all(waiting)
  for (const endpoint of silent) await endpoint[Symbol.asyncDispose]()
})
