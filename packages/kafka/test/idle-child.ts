import { createKafkaSink } from '@postrider/kafka'
import { nth } from './event.ts'

/** Has connections to every broker, does nothing for 5 seconds, and prints what that cost: ms of CPU a second. */
const [client, ...brokers] = process.argv.slice(2)
const never = new AbortController().signal
await using sink = await createKafkaSink({ name: 'idle', client: client as 'kafkajs', brokers, topic: 'idle' })
await Promise.all(Array.from({ length: 60 }, (_, n) => sink.deliver(nth(n, { key: `k${n}` }), never)))
await new Promise((resolve) => setTimeout(resolve, 500))
const warnings: string[] = []
process.on('warning', ({ name }) => warnings.push(name))
const before = process.cpuUsage()
await new Promise((resolve) => setTimeout(resolve, 5_000))
const { user, system } = process.cpuUsage(before)
console.log(JSON.stringify({ msPerSecond: (user + system) / 5_000, warnings }))
