/** Where the Kafka of the tests comes from. This is the only place that decides it. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { findJava } from './real/java.ts'
import { kafkaVersion } from './real/jars.ts'
import { freePorts } from './real/ports.ts'
import { startKafka } from './real/start.ts'

/** A broker of one's own, as `host:port`, or several of one cluster with commas between; ordinary tests then run on it. */
const given: string | undefined = process.env['POSTRIDER_TEST_KAFKA'] || undefined

/** What there is for tests, in a form that can be handed from process to process. */
export interface Offer {
  /** `host:port` of a broker that test files share; null when there is none. */
  readonly bootstrap: readonly string[] | null
  /** Whether `startKafka` works here. */
  readonly canStart: boolean
  /** Where the shared broker comes from, or why there is none. */
  readonly reason: string
  /** Why `startKafka` does not work, or which Kafka it starts. */
  readonly startReason: string
}

/** A broker of the environment if one is given, else the jars where Java is found, else a container where Docker answers. */
export async function openSource(): Promise<Offer & AsyncDisposable> {
  const java = await findJava()
  const canStart = typeof java !== 'string'
  const startReason = canStart ? `Apache Kafka ${kafkaVersion} on Java ${java.major}` : `no Kafka can be started: ${java}`
  const offer = { canStart, startReason, [Symbol.asyncDispose]: async () => {} }
  if (given !== undefined) return { ...offer, bootstrap: given.split(','), reason: 'the Kafka of POSTRIDER_TEST_KAFKA' }
  if (canStart) {
    const kafka = await startKafka()
    return {
      ...offer,
      bootstrap: kafka.bootstrap,
      reason: startReason,
      [Symbol.asyncDispose]: () => kafka[Symbol.asyncDispose](),
    }
  }
  if (await dockerAnswers())
    return { ...offer, ...(await startContainer()), reason: `Apache Kafka ${kafkaVersion} in a container` }
  return { ...offer, bootstrap: null, reason: `no Kafka: POSTRIDER_TEST_KAFKA is not set, ${java}, and no Docker answers` }
}

/** Whether an engine answers, not only whether a client is installed. */
async function dockerAnswers(): Promise<boolean> {
  try {
    await promisify(execFile)('docker', ['version', '--format', '{{.Server.Version}}'], { timeout: 2000 })
    return true
  } catch {
    return false
  }
}

/** The port is chosen before the start, because a broker tells its clients at which address they find it. */
async function startContainer(): Promise<{ bootstrap: string[] } & AsyncDisposable> {
  const { GenericContainer, Wait } = await import('testcontainers')
  const [port = 0] = await freePorts(1)
  const container = await new GenericContainer(`apache/kafka:${kafkaVersion}`)
    .withExposedPorts({ container: port, host: port })
    .withEnvironment({
      KAFKA_NODE_ID: '1',
      KAFKA_PROCESS_ROLES: 'broker,controller',
      KAFKA_CONTROLLER_QUORUM_VOTERS: '1@localhost:9093',
      KAFKA_CONTROLLER_LISTENER_NAMES: 'CONTROLLER',
      KAFKA_LISTENERS: `PLAINTEXT://:${port},CONTROLLER://:9093`,
      KAFKA_ADVERTISED_LISTENERS: `PLAINTEXT://127.0.0.1:${port}`,
      KAFKA_LISTENER_SECURITY_PROTOCOL_MAP: 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
      KAFKA_AUTO_CREATE_TOPICS_ENABLE: 'false',
      KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR: '1',
      KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS: '1',
      KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR: '1',
      KAFKA_TRANSACTION_STATE_LOG_MIN_ISR: '1',
      KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS: '0',
    })
    .withWaitStrategy(Wait.forLogMessage(/Kafka Server started/))
    .withStartupTimeout(120_000)
    .start()
  return { bootstrap: [`127.0.0.1:${port}`], [Symbol.asyncDispose]: async () => void (await container.stop()) }
}
