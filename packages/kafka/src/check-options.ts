import { X509Certificate } from 'node:crypto'
import { createSecureContext } from 'node:tls'
import { PostriderError } from '@postrider/schema'
import { hidePassword, type ConnectionSettings, type KafkaSasl, type KafkaTls } from './connection.ts'
import type { DriverSettings } from './create-driver.ts'
import type { KafkaProfile } from './encode.ts'
import type { KafkaConnectionOptions, KafkaDriverOptions, KafkaOptions, KafkaTimeouts } from './options.ts'
import { compileTemplate, isTopicName, templateProblem, type TopicOf } from './topic-template.ts'
import type { Address } from './wire.ts'

export interface ClientSettings {
  readonly client: 'kafkajs' | 'platformatic'
  readonly connection: ConnectionSettings
  readonly driver: DriverSettings
  readonly timeouts: Required<KafkaTimeouts>
}

/** {@link KafkaOptions} checked, with every default filled in. */
export interface KafkaSettings extends ClientSettings {
  readonly name: string
  readonly topicOf: TopicOf
  readonly profile: KafkaProfile
  readonly source: string
  readonly batchRecords: number
  readonly batchBytes: number
  readonly lingerMs: number
  /** null: off. */
  readonly lookBack: number | null
  readonly partitionCounts: ReadonlyMap<string, number>
  readonly onPartitions: (topic: string, partitions: number) => void
}

const connectionKeys = [
  'brokers',
  'client',
  'clientId',
  'tls',
  'sasl',
  'timeouts',
] as const satisfies (keyof KafkaConnectionOptions)[]
/** The part of the options of a sink that says how a cluster is reached. */
export function connectionOf(options: KafkaConnectionOptions): KafkaConnectionOptions {
  const given = connectionKeys.filter((key) => options[key] !== undefined)
  return Object.fromEntries(given.map((key) => [key, options[key]])) as unknown as KafkaConnectionOptions
}

const driverKeys = [...connectionKeys, 'compression', 'idempotent', 'warn'] as const satisfies (keyof KafkaDriverOptions)[]
const sinkKeys = [
  ...driverKeys,
  'name',
  'topic',
  'prefix',
  'profile',
  'source',
  'batch',
  'lingerMs',
  'exactlyOnce',
  'partitionCounts',
  'onPartitions',
] as const satisfies (keyof KafkaOptions)[]

const namePattern = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/
const brokerPattern = /^(?:\[([0-9A-Fa-f:]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/
const clientIdPattern = /^[A-Za-z0-9._/-]{1,200}$/
const timeoutRanges = {
  connectMs: [5_000, 100, 30_000],
  requestMs: [10_000, 100, 30_000],
  deadlineMs: [25_000, 1_000, 60_000],
} as const satisfies Record<keyof KafkaTimeouts, readonly [standard: number, least: number, most: number]>

/** Checks the options of a sink. Throws `invalid_options` with all problems together; none of them repeats a secret. */
export function checkOptions(options: KafkaOptions): KafkaSettings {
  const problems: string[] = []
  unknownKeys(options, sinkKeys, '', problems)
  if (typeof options.name !== 'string' || !namePattern.test(options.name))
    problems.push('name: 1 to 63 letters, digits, _ . or -')
  const client = checkClient(options, problems)
  const profile = oneOf(options.profile ?? 'cloudevents', ['cloudevents', 'debezium'], 'profile', problems)
  const source = text(options.source ?? '', 'source', problems)
  const prefix = text(options.prefix ?? (profile === 'debezium' ? 'outbox.event' : ''), 'prefix', problems)
  if (prefix !== '' && !isTopicName(prefix)) problems.push('prefix: letters, digits, . _ -, at most 249')
  const template = `${prefix === '' ? '' : `${prefix}.`}${text(options.topic ?? '{type.0}', 'topic', problems)}`
  const problem = templateProblem(template)
  if (problem !== null) problems.push(`topic: ${problem}`)
  unknownKeys(options.batch ?? {}, ['records', 'bytes'], 'batch.', problems)
  const batchRecords = integer(options.batch?.records ?? 500, 1, 1_000, 'batch.records', problems)
  const batchBytes = integer(options.batch?.bytes ?? 900_000, 1_000, 16_000_000, 'batch.bytes', problems)
  const lingerMs = integer(options.lingerMs ?? 0, 0, 1_000, 'lingerMs', problems)
  const { exactlyOnce = false } = options
  if (typeof exactlyOnce === 'object') unknownKeys(exactlyOnce, ['lookBack'], 'exactlyOnce.', problems)
  const lookBack = exactlyOnce === false ? null : ((exactlyOnce === true ? undefined : exactlyOnce.lookBack) ?? 100_000)
  if (lookBack !== null) integer(lookBack, 1, 10_000_000, 'exactlyOnce.lookBack', problems)
  const partitionCounts = new Map(Object.entries(options.partitionCounts ?? {}))
  for (const [topic, count] of partitionCounts) integer(count, 1, 1_000_000, `partitionCounts.${topic.slice(0, 249)}`, problems)
  refuse(problems, `The Kafka sink ${options.name} cannot start`)
  return Object.freeze({
    ...client,
    name: options.name,
    topicOf: compileTemplate(template),
    profile,
    source,
    batchRecords,
    batchBytes,
    lingerMs,
    lookBack,
    partitionCounts,
    onPartitions: options.onPartitions ?? (() => {}),
  })
}

/** Checks the options of a driver or of the administration. Throws `invalid_options`. */
export function checkDriverOptions(options: KafkaDriverOptions): ClientSettings {
  const problems: string[] = []
  unknownKeys(options, driverKeys, '', problems)
  const settings = checkClient(options, problems)
  refuse(problems, 'Kafka cannot be reached with these options')
  return settings
}

function checkClient(options: KafkaDriverOptions, problems: string[]): ClientSettings {
  const client = oneOf(options.client ?? 'kafkajs', ['kafkajs', 'platformatic'], 'client', problems)
  const clientId = text(options.clientId ?? 'postrider', 'clientId', problems)
  if (!clientIdPattern.test(clientId)) problems.push('clientId: 1 to 200 letters, digits, . _ - or /')
  const timeouts = checkTimeouts(options.timeouts ?? {}, problems)
  const compression = oneOf(options.compression ?? 'gzip', ['none', 'gzip', 'zstd'], 'compression', problems)
  const { idempotent = true } = options
  if (typeof idempotent !== 'boolean') problems.push('idempotent: true or false')
  const tls = checkTls(options.tls ?? false, problems)
  const sasl = checkSasl(options.sasl, problems)
  return {
    client,
    connection: { clientId, tls, sasl, connectMs: timeouts.connectMs },
    driver: {
      brokers: checkBrokers(options.brokers, problems),
      idempotent,
      compression,
      requestMs: timeouts.requestMs,
      warn: options.warn ?? ((message) => process.emitWarning(message, 'PostriderWarning')),
    },
    timeouts,
  }
}

function checkBrokers(brokers: readonly string[], problems: string[]): Address[] {
  if (!Array.isArray(brokers) || brokers.length === 0) {
    problems.push('brokers: at least one host:port')
    return []
  }
  return brokers.map((broker, index) => {
    const [, v6, host, port = ''] = (typeof broker === 'string' ? brokerPattern.exec(broker) : null) ?? []
    const number = Number(port)
    // An address with credentials in it must not come back in the message.
    if (port === '' || number < 1 || number > 65_535) problems.push(`brokers[${index}]: not host:port`)
    return { host: v6 ?? host ?? '', port: number }
  })
}

function checkTls(tls: boolean | KafkaTls, problems: string[]): KafkaTls | null {
  if (typeof tls === 'boolean') return tls ? {} : null
  unknownKeys(tls, ['ca', 'cert', 'key', 'dangerouslyAcceptAnyCertificate'], 'tls.', problems)
  if ((tls.cert === undefined) !== (tls.key === undefined)) problems.push('tls: cert and key belong together')
  for (const part of ['ca', 'cert', 'key'] as const) {
    const pem = tls[part]
    if (pem === undefined) continue
    try {
      createSecureContext({ [part]: typeof pem === 'string' ? pem : [...pem] })
      // An authority that cannot be read would be passed over without a word.
      if (part !== 'key') for (const one of [pem].flat()) void new X509Certificate(one)
    } catch {
      problems.push(`tls.${part}: is not PEM that can be read`)
    }
  }
  return tls
}

function checkSasl(sasl: KafkaSasl | undefined, problems: string[]): ConnectionSettings['sasl'] {
  if (sasl === undefined) return null
  unknownKeys(sasl, ['mechanism', 'username', 'password'], 'sasl.', problems)
  oneOf(sasl.mechanism, ['plain', 'scram-sha-256', 'scram-sha-512'], 'sasl.mechanism', problems)
  if (typeof sasl.username !== 'string' || sasl.username === '') problems.push('sasl.username: is missing')
  const { password } = sasl
  if (typeof password !== 'function' && (typeof password !== 'string' || password === '')) {
    problems.push('sasl.password: a text, or a function that gives it')
  }
  return hidePassword(sasl)
}

function checkTimeouts(timeouts: KafkaTimeouts, problems: string[]): Required<KafkaTimeouts> {
  unknownKeys(timeouts, Object.keys(timeoutRanges), 'timeouts.', problems)
  const read = (key: keyof KafkaTimeouts): number => {
    const [standard, least, most] = timeoutRanges[key]
    return integer(timeouts[key] ?? standard, least, most, `timeouts.${key}`, problems)
  }
  return { connectMs: read('connectMs'), requestMs: read('requestMs'), deadlineMs: read('deadlineMs') }
}

function refuse(problems: readonly string[], what: string): void {
  if (problems.length === 0) return
  const list = problems.map((problem) => `- ${problem}`).join('\n')
  throw new PostriderError('invalid_options', `${what}:\n${list}`, { problems })
}

function unknownKeys(value: object, known: readonly string[], path: string, problems: string[]): void {
  for (const key of Object.keys(value)) if (!known.includes(key)) problems.push(`${path}${key}: unknown option`)
}

function text(value: string, path: string, problems: string[]): string {
  if (typeof value === 'string') return value
  problems.push(`${path}: a text`)
  return ''
}

function integer(value: number, least: number, most: number, path: string, problems: string[]): number {
  if (!Number.isInteger(value) || value < least || value > most) {
    problems.push(`${path}: a whole number from ${least} to ${most}, not ${String(value)}`)
  }
  return value
}

function oneOf<T extends string>(value: T, choices: readonly string[], path: string, problems: string[]): T {
  if (!choices.includes(value)) problems.push(`${path}: one of ${choices.join(', ')}, not ${value}`)
  return value
}
