import type { Certificate } from './certificate.ts'
import type { KafkaOptions, KafkaUser } from './options.ts'

/** Of one broker: its number, and its ports on 127.0.0.1. */
export interface Node {
  readonly id: number
  /** For clients. */
  readonly port: number
  /** Between brokers, without authentication; what comes here is a super user. */
  readonly internal: number
  readonly controller: number
}

/** Settings that make a broker small, quick to start and quick to notice what happens to it. */
const forTests: Readonly<Record<string, string | number | boolean>> = {
  'auto.create.topics.enable': false,
  // Leaders stay where a test has moved them.
  'auto.leader.rebalance.enable': false,
  'offsets.topic.num.partitions': 1,
  'transaction.state.log.num.partitions': 1,
  'share.coordinator.state.topic.num.partitions': 1,
  'group.initial.rebalance.delay.ms': 0,
  'group.min.session.timeout.ms': 1000,
  'num.network.threads': 2,
  'num.io.threads': 4,
  'log.cleaner.dedupe.buffer.size': 2_097_152, // 128 MB by default, allocated at the start
  'log.segment.delete.delay.ms': 1000,
  // A dead broker is noticed after 4 s rather than 9.
  'broker.heartbeat.interval.ms': 500,
  'broker.session.timeout.ms': 4000,
  'controlled.shutdown.max.retries': 1,
}

const mechanisms = { plain: 'PLAIN', 'scram-sha-256': 'SCRAM-SHA-256', 'scram-sha-512': 'SCRAM-SHA-512' } as const

/** The text of a server.properties file. */
export function serverProperties(
  node: Node,
  nodes: readonly Node[],
  home: string,
  options: KafkaOptions,
  users: readonly KafkaUser[],
  certificate: Certificate | undefined,
): string {
  const replicas = nodes.length
  const needed = Math.max(1, replicas - 1)
  const client = `${options.sasl === undefined ? '' : 'SASL_'}${certificate === undefined ? 'PLAINTEXT' : 'SSL'}`
  const settings = {
    'node.id': node.id,
    'process.roles': 'broker,controller',
    'controller.quorum.voters': nodes.map(({ id, controller }) => `${id}@127.0.0.1:${controller}`).join(),
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'INTERNAL',
    listeners: `CLIENT://127.0.0.1:${node.port},INTERNAL://127.0.0.1:${node.internal},CONTROLLER://127.0.0.1:${node.controller}`,
    'advertised.listeners': `CLIENT://127.0.0.1:${node.port},INTERNAL://127.0.0.1:${node.internal}`,
    'listener.security.protocol.map': `CLIENT:${client},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT`,
    'log.dirs': `${home}/data`,
    'default.replication.factor': replicas,
    'min.insync.replicas': needed,
    'offsets.topic.replication.factor': replicas,
    'transaction.state.log.replication.factor': replicas,
    'transaction.state.log.min.isr': needed,
    'share.coordinator.state.topic.replication.factor': replicas,
    'share.coordinator.state.topic.min.isr': needed,
    ...forTests,
    ...(options.sasl !== undefined && sasl(mechanisms[options.sasl], users)),
    ...(certificate !== undefined && {
      'ssl.keystore.type': 'PKCS12',
      'ssl.keystore.location': certificate.keystore,
      'ssl.keystore.password': certificate.password,
    }),
    ...(options.authorizer && {
      'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
      'super.users': `User:ANONYMOUS;User:${users[0]?.username}`,
    }),
    ...options.properties,
  }
  return Object.entries(settings)
    .map(([name, value]) => `${name}=${String(value).replaceAll('\\', '\\\\')}\n`)
    .join('')
}

function sasl(mechanism: string, users: readonly KafkaUser[]): Record<string, string> {
  const plain = mechanism === 'PLAIN'
  const known = plain ? users.map(({ username, password }) => ` user_${username}="${password}"`).join('') : ''
  const jaas = `org.apache.kafka.common.security.${plain ? 'plain.PlainLoginModule' : 'scram.ScramLoginModule'} required${known};`
  return {
    'sasl.enabled.mechanisms': mechanism,
    [`listener.name.client.${mechanism.toLowerCase()}.sasl.jaas.config`]: jaas,
  }
}

/** What `kafka-storage format` is told of the users of SCRAM, which the log of the controllers keeps. */
export function scramArguments(options: KafkaOptions, users: readonly KafkaUser[]): string[] {
  if (options.sasl === undefined || options.sasl === 'plain') return []
  return users.flatMap(({ username, password }) => [
    '--add-scram',
    `${mechanisms[options.sasl ?? 'plain']}=[name=${username},password=${password}]`,
  ])
}
