import { startKafka } from '/work/main/test/kafka/real/start.ts'
import { createKafkaSink, openKafkaAdmin, openKafkaDriver } from '/work/main/packages/kafka/src/index.ts'
import { nth } from '/work/main/packages/kafka/test/event.ts'
import { carry } from '/work/main/packages/kafka/test/carry.ts'
import { setTimeout as sleep } from 'node:timers/promises'
const client = process.argv[2] as 'kafkajs'
await using kafka = await startKafka({ brokers: 3 })
const never = new AbortController().signal
await using admin = await openKafkaAdmin({ brokers: kafka.bootstrap })
await admin.createTopic({ name: client, partitions: 4, replication: 3 })
await using sink0 = await createKafkaSink({ name: 'main', client, brokers: kafka.bootstrap, topic: client, timeouts: { requestMs: 3_000 } })
const appended = new Map<number, any>()
const sink = { ...sink0, deliver: async (a: any, s: any) => { const o: any = await sink0.deliver(a, s); if (o.kind==='delivered') { appended.set(Number(a.event.position), o.appended) } return o } }
let done = false, carried = 0
const troubles: any[] = []
const carrying = (async () => { for (; !done; carried += 50) troubles.push(...await carry(sink as any, Array.from({ length: 50 }, (_, i) => nth(carried + i, { key: `k${i % 17}` })), 60_000)) })()
for (const broker of kafka.brokers.slice(1)) {
  const before = carried
  const t = performance.now()
  await broker.kill('SIGKILL')
  while (carried < before + 100) await sleep(20)
  console.log('killed', broker.id, 'went on after', Math.round(performance.now() - t), 'at', carried)
  await broker.start()
  console.log('started', Math.round(performance.now() - t), 'at', carried)
}
done = true
await carrying
console.log('carried', carried, 'troubles', troubles.length, JSON.stringify(troubles[0]))
await using driver = await openKafkaDriver({ client, brokers: kafka.bootstrap })
for (let round = 0; round < 3; round++) {
  const seen = new Map<number, string>()
  const bounds = await driver.bounds(client, never)
  for (const [partition, { first, next }] of bounds) {
    let n0 = 0
    for await (const r of driver.read(client, partition, first, next, never)) { n0++; const { n } = JSON.parse(String(r.value)); seen.set(n, `${partition}/${r.offset}`) }
    console.log(' p', partition, first, next, 'read', n0)
  }
  const missing = []
  for (let n = 0; n < carried; n++) if (!seen.has(n)) missing.push(n)
  console.log('seen', seen.size, 'missing', missing.length, missing.slice(0, 5).map((n) => [n, appended.get(n)]), missing.slice(-3).map((n) => [n, appended.get(n)]))
  console.log((await admin.describeTopic(client))!.partitions)
  await sleep(3000)
}
