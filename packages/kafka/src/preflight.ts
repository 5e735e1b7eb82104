import { randomUUID } from 'node:crypto'
import { isPostriderError } from '@postrider/schema'
import { openKafkaAdmin, type KafkaAdmin, type TopicDescription } from './admin.ts'
import { certificateEnd } from './certificate.ts'
import { checkDriverOptions } from './check-options.ts'
import { openKafkaDriver } from './open.ts'
import type { KafkaDriverOptions } from './options.ts'

export interface PreflightCheck {
  /** What was looked at, such as `min.insync.replicas`. */
  readonly check: string
  /** The topic or broker it is about; null: the cluster. */
  readonly subject: string | null
  readonly level: 'ok' | 'warn' | 'fail'
  readonly detail: string
  /** What to do; null when nothing is to be done. */
  readonly next: string | null
}

/** What the log holds, for comparison. Leave out what is not known. */
export interface PreflightFacts {
  /** Topics that events will go to. */
  readonly topics: readonly string[]
  /** Bytes of the largest payload. */
  readonly largestBytes?: number
  /** Time of the oldest event that will be sent, in ms since the epoch. */
  readonly oldestMs?: number
  /** There are events without a key. */
  readonly nullKeys?: boolean
  /** Numbers of partitions that are known from before. */
  readonly partitionCounts?: ReadonlyMap<string, number>
  /** A record is written to this topic and read back. Its header `postrider-canary` tells consumers what it is. */
  readonly canary?: string
}

const dayMs = 86_400_000
/** What a record has besides its payload: headers, key, lengths. */
const recordRoom = 2_048

/** Whether a cluster will take what a sink sends it. Changes nothing but for the canary. Throws only `invalid_options` and `client_missing`. */
export async function preflight(
  options: KafkaDriverOptions,
  facts: PreflightFacts,
  signal?: AbortSignal,
): Promise<PreflightCheck[]> {
  const settings = checkDriverOptions(options)
  const { compression: _compression, idempotent: _idempotent, warn: _warn, ...connection } = options
  await using admin = await openKafkaAdmin(connection)
  const checks: PreflightCheck[] = []
  const add = (
    check: string,
    subject: string | null,
    level: PreflightCheck['level'],
    detail: string,
    next: string | null = null,
  ): void => void checks.push({ check, subject, level, detail, next })

  if (!(await checkCluster(admin, add, signal))) return checks
  await attempt('idempotent write', null, add, async () => {
    if (await admin.mayWriteIdempotently(signal)) add('idempotent write', null, 'ok', 'granted')
    else
      add(
        'idempotent write',
        null,
        'warn',
        'not granted: answers that are lost give duplicates',
        'Grant IdempotentWrite on the cluster.',
      )
  })
  if (settings.connection.tls !== null) {
    for (const broker of settings.driver.brokers) {
      const end = await certificateEnd(broker, settings.connection.tls, settings.timeouts.connectMs)
      const subject = `${broker.host}:${broker.port}`
      if (end === null) add('certificate', subject, 'warn', 'could not be seen')
      else {
        const days = Math.floor((end - Date.now()) / dayMs)
        add(
          'certificate',
          subject,
          days < 0 ? 'fail' : days < 21 ? 'warn' : 'ok',
          `valid for ${days} days`,
          days < 21 ? 'Renew it.' : null,
        )
      }
    }
  }
  for (const name of facts.topics) {
    await attempt('topic', name, add, async () => {
      const topic = await admin.describeTopic(name, signal)
      if (topic === null) add('topic', name, 'fail', 'does not exist', 'Create it: topics are never created by a sink.')
      else checkTopic(topic, facts, add)
    })
  }
  const { canary } = facts
  if (canary !== undefined) await attempt('canary', canary, add, () => checkCanary(options, canary, add, signal))
  return checks
}

type Add = (check: string, subject: string | null, level: PreflightCheck['level'], detail: string, next?: string | null) => void

async function attempt(check: string, subject: string | null, add: Add, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (!isPostriderError(error)) throw error
    add(check, subject, 'fail', error.message, error.next)
  }
}

async function checkCluster(admin: KafkaAdmin, add: Add, signal?: AbortSignal): Promise<boolean> {
  try {
    const { brokers, speaks, controllerId } = await admin.describeCluster(signal)
    const racks = new Set(brokers.map(({ rack }) => rack ?? 'no rack'))
    const list = brokers.map(({ id, host, port }) => `${id} at ${host}:${port}`).join(', ')
    add(
      'brokers',
      null,
      brokers.length < 3 ? 'warn' : 'ok',
      `${list}; controller ${controllerId}; racks: ${[...racks].join(', ')}`,
      brokers.length < 3 ? 'Fewer than three brokers: one that fails stops writes, or loses them.' : null,
    )
    for (const { id, versions } of brokers) {
      const subject = `broker ${id}`
      if (versions === null) {
        add(
          'reachable',
          subject,
          'fail',
          'does not answer at its advertised address',
          'Look at advertised.listeners and at the network.',
        )
        continue
      }
      const missing = [...speaks].filter(([key, mine]) => {
        const theirs = versions.get(key)
        return theirs === undefined || theirs.min > mine.max || theirs.max < mine.min
      })
      if (missing.length === 0) add('versions', subject, 'ok', 'every request that is needed has a version in common')
      else {
        const keys = missing.map(([key, { min, max }]) => `${key} (client ${min} to ${max})`).join(', ')
        add(
          'versions',
          subject,
          'fail',
          `no version in common for the requests with the keys ${keys}`,
          'Use the other client, or another line of Kafka.',
        )
      }
    }
    return true
  } catch (error) {
    if (!isPostriderError(error)) throw error
    add('brokers', null, 'fail', error.message, error.next)
    return false
  }
}

function checkTopic(topic: TopicDescription, facts: PreflightFacts, add: Add): void {
  const { name, configs, replication, partitions } = topic
  const known = facts.partitionCounts?.get(name)
  if (known !== undefined && known !== partitions.length) {
    const next = 'Let consumers finish, then accept the new number: keys move to other partitions.'
    add('partitions', name, 'fail', `${partitions.length}, and ${known} before`, next)
  } else add('partitions', name, 'ok', String(partitions.length))
  const leaderless = partitions.filter(({ leader }) => leader < 0).length
  if (leaderless > 0) add('leaders', name, 'fail', `${leaderless} partitions have no leader`, 'Look at the brokers.')
  add(
    'replication',
    name,
    replication < 2 ? 'warn' : 'ok',
    String(replication),
    replication < 2 ? 'One broker that is lost takes its events with it. Use 3.' : null,
  )

  if (configs.size === 0) {
    add('configuration', name, 'warn', 'may not be read', 'Grant DescribeConfigs, so that limits can be checked.')
    return
  }
  const minInSync = Number(configs.get('min.insync.replicas') ?? 1)
  if (minInSync > replication) {
    add(
      'min.insync.replicas',
      name,
      'fail',
      `${minInSync} of ${replication} replicas: no write can succeed`,
      'Lower it, or add replicas.',
    )
  } else if (minInSync === replication && replication > 1) {
    add(
      'min.insync.replicas',
      name,
      'warn',
      `${minInSync} of ${replication}: a broker that restarts stops writes`,
      'Use one less than the replicas.',
    )
  } else if (minInSync < 2) {
    add(
      'min.insync.replicas',
      name,
      'warn',
      `${minInSync}: an event that was confirmed may be on one broker alone`,
      'Use 2 of 3 replicas.',
    )
  } else add('min.insync.replicas', name, 'ok', `${minInSync} of ${replication}`)

  const most = Number(configs.get('max.message.bytes') ?? 1_048_588)
  const { largestBytes } = facts
  const tooLarge = largestBytes !== undefined && largestBytes + recordRoom > most
  add(
    'max.message.bytes',
    name,
    tooLarge ? 'fail' : 'ok',
    largestBytes === undefined ? String(most) : `${most}; the largest payload has ${largestBytes}`,
    tooLarge ? 'Raise it, or send thin events; a record over the limit becomes a dead letter.' : null,
  )
  const stampedAtAppend = configs.get('message.timestamp.type') === 'LogAppendTime'
  add(
    'message.timestamp.type',
    name,
    'ok',
    stampedAtAppend ? 'LogAppendTime: the event time is in a header only' : 'CreateTime: the event time',
  )

  const retentionMs = Number(configs.get('retention.ms') ?? -1)
  const cleanup = configs.get('cleanup.policy') ?? 'delete'
  const ageMs = facts.oldestMs === undefined ? null : Date.now() - facts.oldestMs
  if (cleanup.includes('delete') && retentionMs >= 0 && ageMs !== null && !stampedAtAppend && ageMs > retentionMs * 0.9) {
    add(
      'retention.ms',
      name,
      'fail',
      `${days(retentionMs)} days, and the oldest event has ${days(ageMs)}: it would be deleted as soon as it is written`,
      'Raise retention.ms until the backfill is done, or use message.timestamp.type=LogAppendTime.',
    )
  } else add('retention.ms', name, 'ok', retentionMs < 0 ? 'unlimited' : `${days(retentionMs)} days`)

  const compacted = cleanup.includes('compact')
  if (compacted && facts.nullKeys === true) {
    add(
      'cleanup.policy',
      name,
      'fail',
      `${cleanup}, and there are events without a key, which a compacted topic refuses`,
      'Give every event a key, or do not compact.',
    )
  } else if (compacted) {
    add(
      'cleanup.policy',
      name,
      'warn',
      `${cleanup}: of each key only the newest event stays`,
      'Compact only topics whose events hold the whole state.',
    )
  } else add('cleanup.policy', name, 'ok', cleanup)
}

async function checkCanary(options: KafkaDriverOptions, topic: string, add: Add, signal?: AbortSignal): Promise<void> {
  const until = AbortSignal.any([AbortSignal.timeout(20_000), ...(signal === undefined ? [] : [signal])])
  await using driver = await openKafkaDriver(options)
  const id = Buffer.from(randomUUID())
  const writtenMs = Date.now()
  const before = performance.now()
  const record = {
    key: Buffer.from('postrider-canary'),
    value: id,
    headers: [['postrider-canary', id]] as const,
    timestampMs: writtenMs,
  }
  const result = await driver.append({ topic, partition: 0, records: [record] }, until, 10_000)
  const tookMs = Math.round(performance.now() - before)
  if (!result.ok) {
    add('canary', topic, 'fail', result.message, 'Mend what the message names: no event would be taken either.')
    return
  }
  for await (const read of driver.read(topic, 0, result.baseOffset, result.baseOffset + 1n, until)) {
    if (!read.headers.get('postrider-canary')?.equals(id)) continue
    const rest = Math.round(performance.now() - before) - tookMs
    add(
      'canary',
      topic,
      'ok',
      `written in ${tookMs} ms with compression ${options.compression ?? 'zstd'}, read back in ${rest} ms`,
    )
    const skewMs = read.timestampMs - writtenMs
    // Only a topic that stamps records itself shows the broker's clock.
    if (skewMs !== 0) {
      const wrong = Math.abs(skewMs) > 5_000
      add('clock', topic, wrong ? 'warn' : 'ok', `the broker is ${skewMs} ms ahead`, wrong ? 'Set both clocks by NTP.' : null)
    }
    return
  }
  add('canary', topic, 'fail', 'written, and not read back', 'Grant the right to read, or look at the brokers.')
}

function days(ms: number): number {
  return Math.round((ms / dayMs) * 10) / 10
}
