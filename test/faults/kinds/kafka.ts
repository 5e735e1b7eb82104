import { openKafkaAdmin } from '@postrider/kafka'
import { startKafka, type Kafka } from '../../kafka/index.ts'
import { findJava } from '../../kafka/real/java.ts'
import { road, type Fault } from '../fault.ts'
import { followTopic } from '../follow-topic.ts'
import type { Stage } from '../stage.ts'

const topic = 'account'
const clusters = new WeakMap<Stage, Kafka>()

const streamed = {
  attacks: [...road, 'back at once'],
  blows: 2,
  limits: { relays: [1, 2] },
  async missing() {
    const java = await findJava()
    return typeof java === 'string' ? `no Kafka can be started: ${java}` : null
  },
  /** A cluster, a topic, relays that have nothing but a sink to it, and somebody who reads it. */
  async arrange(stage) {
    const kafka = stage.leftovers.use(await startKafka())
    clusters.set(stage, kafka)
    await using admin = await openKafkaAdmin({ brokers: kafka.bootstrap })
    await admin.createTopic({ name: topic, partitions: 3 })
    stage.leftovers.use(followTopic(kafka.bootstrap, topic, stage.journal.path))
    stage.posts = false
    const { lanes, concurrency } = stage.plan
    stage.crew.options = {
      kafka: [
        {
          lanes,
          concurrency: concurrency * 10,
          retry: { delaysMs: Array<number>(200).fill(200), jitter: 0, maxAgeMs: 600_000 },
          circuit: { failures: 10, openMs: 200, mostMs: 1_000 },
          options: {
            name: 'stream',
            brokers: kafka.bootstrap,
            source: 'test',
            timeouts: { requestMs: 1_000, connectMs: 500, deadlineMs: 4_000 },
          },
        },
      ],
    }
  },
} as const satisfies Partial<Fault>

const broker = (stage: Stage) => {
  const one = clusters.get(stage)?.brokers[0]
  if (one === undefined) throw new Error('there is no broker')
  return one
}

export const kafka: readonly Fault[] = [
  {
    ...streamed,
    name: 'kafka-killed',
    does: 'SIGKILL to the only broker of a Kafka that relays stream to; it is started again',
    lastsMs: [0, 1_000],
    backWithinMs: 20_000,
    act: (stage) => broker(stage).kill('SIGKILL'),
    heal: (stage) => broker(stage).start(),
  },
  {
    ...streamed,
    name: 'kafka-frozen',
    does: 'SIGSTOP to the only broker of a Kafka that relays stream to, then SIGCONT',
    lastsMs: [500, 2_500],
    backWithinMs: 20_000,
    act: (stage) => broker(stage).kill('SIGSTOP'),
    heal: (stage) => broker(stage).kill('SIGCONT'),
  },
]
