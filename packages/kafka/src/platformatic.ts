// oxlint-disable typescript/no-explicit-any -- answers of the library have a type for each version, and are read here in what they share
import { isIP } from 'node:net'
import { isPostriderError, PostriderError } from '@postrider/schema'
import type * as Library from '@platformatic/kafka'
import type { Connection } from '@platformatic/kafka'
import { tlsOptions, type ConnectionSettings } from './connection.ts'
import { Links } from './links.ts'
import { connectionError, wireError } from './trouble.ts'
import { within } from './within.ts'
import { WireError, type Address, type Limit, type ProduceRequest, type Refusal, type Versions, type Wire } from './wire.ts'

type Client = typeof Library
type Api = { readonly api: { async(connection: Connection, ...values: unknown[]): Promise<any> } }

interface Link {
  readonly connection: Connection
  versions: ReadonlyMap<number, Versions>
}

/** Key, name of its functions, lowest and highest version that are called here in the same way. */
const used = {
  produce: [0, 3, 11],
  fetch: [1, 4, 12],
  listOffsets: [2, 1, 10],
  metadata: [3, 4, 12],
  offsetCommit: [8, 2, 9],
  offsetFetch: [9, 1, 9],
  findCoordinator: [10, 0, 6],
  describeGroups: [15, 0, 5],
  createTopics: [19, 0, 7],
  deleteTopics: [20, 0, 5],
  initProducerId: [22, 0, 5],
  describeConfigs: [32, 0, 4],
  deleteGroups: [42, 0, 2],
} as const satisfies Record<string, readonly [key: number, min: number, max: number]>

const topicResource = 2
const groupKey = 0
const logAppendTime = 8
const control = 32
/** Of the library's own timer: each request has a shorter deadline here. */
const requestTimeoutMs = 120_000
const unsupportedVersion = 35

/** Requests through @platformatic/kafka, which is an optional peer dependency. Throws `client_missing`. */
export async function openPlatformatic(settings: ConnectionSettings): Promise<Wire> {
  let client: Client
  try {
    client = await import('@platformatic/kafka')
  } catch (cause) {
    throw new PostriderError('client_missing', '@platformatic/kafka ^2.12.1 is not installed', {}, { cause })
  }
  const functions = client as unknown as Readonly<Record<string, Api | undefined>>
  const speaks = new Map<number, Versions>()
  for (const [name, [key, min, max]] of Object.entries(used)) {
    const versions = Array.from({ length: max - min + 1 }, (_, index) => min + index).filter((v) => functions[`${name}V${v}`])
    if (versions.length === 0)
      throw new PostriderError('client_missing', `this version of @platformatic/kafka has no ${name}; 2.12.1 is known`)
    speaks.set(key, { min: Math.min(...versions), max: Math.max(...versions) })
  }

  const links = new Links<Link>(
    async ({ host, port }) => {
      const password = await settings.sasl?.password()
      const connection = new client.Connection(settings.clientId, {
        connectTimeout: settings.connectMs,
        requestTimeout: requestTimeoutMs,
        maxInflights: 1_000,
        // The name of a server is no address (RFC 6066 section 3); addresses are compared with the certificate all the same.
        ...(settings.tls === null ? {} : { tls: tlsOptions(settings.tls), tlsServerName: isIP(host) === 0 ? host : false }),
        ...(settings.sasl === null
          ? {}
          : {
              sasl: {
                mechanism: settings.sasl.mechanism.toUpperCase() as 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512',
                username: settings.sasl.username,
                password: password ?? '',
              },
            }),
      })
      // Told by the requests that fail with it.
      connection.on('error', () => {})
      const link: Link = { connection, versions: new Map() }
      try {
        await within({ ms: settings.connectMs }, false, open(link, { host, port }), () => cut(link))
      } catch (error) {
        cut(link)
        throw error
      }
      return link
    },
    ({ connection }) => connection.isConnected(),
    cut,
  )

  async function open(link: Link, { host, port }: Address): Promise<void> {
    await link.connection.connect(host, port)
    let answer: any
    try {
      answer = await client.apiVersionsV3.api.async(link.connection, 'postrider', '1')
    } catch (error) {
      if (!refusedWith(error, unsupportedVersion)) throw error
      answer = await client.apiVersionsV1.api.async(link.connection, 'postrider', '1')
    }
    link.versions = new Map(answer.apiKeys.map((entry: any) => [entry.apiKey, { min: entry.minVersion, max: entry.maxVersion }]))
  }

  async function link(at: Address, limit: Limit): Promise<Link> {
    if (links.closed) throw wireError('aborted', false)
    try {
      return await within(limit, false, links.get(at), () => {})
    } catch (error) {
      throw failure(error, false)
    }
  }

  /** One request. Where the library throws because of an error in the answer, the answer is taken from what it throws. */
  async function ask(at: Address, name: keyof typeof used, values: readonly unknown[], limit: Limit): Promise<any> {
    const started = performance.now()
    const to = await link(at, limit)
    const mine = speaks.get(used[name][0]) ?? { min: 0, max: -1 }
    const theirs = to.versions.get(used[name][0])
    let version = Math.min(mine.max, theirs?.max ?? -1)
    const least = Math.max(mine.min, theirs?.min ?? 0)
    while (version >= least && functions[`${name}V${version}`] === undefined) version--
    const found = version < least ? undefined : functions[`${name}V${version}`]
    if (found === undefined) throw wireError('unsupported', false)
    const rest = { ...limit, ms: limit.ms - (performance.now() - started) }
    try {
      return await within(rest, true, found.api.async(to.connection, ...values), () => links.drop(at, to))
    } catch (error) {
      const answer = answerIn(error)
      if (answer !== null) return answer
      const told = failure(error, true)
      if (told.trouble !== 'aborted' && told.trouble !== 'client') links.drop(at, to)
      throw told
    }
  }

  return {
    name: 'platformatic',
    speaks,
    versions: async (at, limit) => (await link(at, limit)).versions,
    async metadata(at, topics, limit) {
      const answer = await ask(at, 'metadata', [topics, false, false], limit)
      return {
        clusterId: answer.clusterId ?? null,
        controllerId: answer.controllerId,
        brokers: answer.brokers.map((broker: any) => ({
          id: broker.nodeId,
          host: broker.host,
          port: broker.port,
          rack: broker.rack || null,
        })),
        topics: answer.topics.map((topic: any) => ({
          name: topic.name,
          error: topic.errorCode,
          partitions: topic.partitions.map((partition: any) => ({
            partition: partition.partitionIndex,
            error: partition.errorCode,
            leader: partition.leaderId,
            replicas: partition.replicaNodes,
            inSync: partition.isrNodes,
          })),
        })),
      }
    },
    async initProducer(at, limit) {
      const answer = await ask(at, 'initProducerId', [null, 60_000, -1n, -1], limit)
      return { error: answer.errorCode, message: null, producer: { id: answer.producerId, epoch: answer.producerEpoch } }
    },
    async produce(at, request, limit) {
      const { topic, partition, producer, sequence, timeoutMs, compression } = request
      const answer = await ask(
        at,
        'produce',
        [
          -1,
          timeoutMs,
          messagesOf(request),
          {
            compression,
            producerId: producer?.id ?? -1n,
            producerEpoch: producer?.epoch ?? -1,
            sequences: { getWithDefault: () => (producer === null ? -1 : sequence) },
          },
        ],
        limit,
      )
      const [named, ...others] = answer.responses.flatMap((entry: any) =>
        entry.name === topic ? entry.partitionResponses : [entry],
      )
      if (named === undefined || others.length > 0 || named.index !== partition) return null
      return { error: named.errorCode, baseOffset: named.baseOffset }
    },
    async offset(at, topic, partition, time, limit) {
      const partitions = [{ partitionIndex: partition, currentLeaderEpoch: -1, timestamp: BigInt(time) }]
      const answer = await ask(at, 'listOffsets', [-1, 0, [{ name: topic, partitions }]], limit)
      const named = answer.topics[0]?.partitions[0]
      return { error: named?.errorCode ?? -1, offset: named?.offset ?? -1n }
    },
    async fetch(at, topic, partition, from, maxBytes, limit) {
      const partitions = [
        { partition, currentLeaderEpoch: -1, fetchOffset: from, lastFetchedEpoch: -1, partitionMaxBytes: maxBytes },
      ]
      const answer = await ask(at, 'fetch', [100, 1, maxBytes, 0, 0, -1, [{ topicId: topic, partitions }], [], ''], limit)
      const named = answer.responses[0]?.partitions[0]
      if (named === undefined) return { error: answer.errorCode || -1, first: 0n, next: 0n, records: [], end: null }
      const batches = named.records ?? []
      const last = batches.at(-1)
      return {
        error: named.errorCode,
        first: named.logStartOffset ?? 0n,
        next: named.highWatermark,
        end: last === undefined ? null : last.firstOffset + BigInt(last.lastOffsetDelta) + 1n,
        records: batches
          .filter((batch: any) => (batch.attributes & control) === 0)
          .flatMap((batch: any) =>
            batch.records.map((record: any) => ({
              offset: batch.firstOffset + BigInt(record.offsetDelta),
              timestampMs: Number(
                (batch.attributes & logAppendTime) === 0 ? batch.firstTimestamp + record.timestampDelta : batch.maxTimestamp,
              ),
              key: record.key ?? null,
              value: record.value ?? null,
              headers: new Map(
                record.headers.map(([name, value]: [Buffer, Buffer | null]) => [String(name), value ?? Buffer.alloc(0)]),
              ),
            })),
          ),
      }
    },
    async describeTopic(at, topic, names, limit) {
      const resources = [{ resourceType: topicResource, resourceName: topic, configurationKeys: names }]
      const [named] = (await ask(at, 'describeConfigs', [resources, false, false], limit)).results
      return {
        ...refusal(named),
        configs: new Map((named?.configs ?? []).map((entry: any) => [entry.name, entry.value ?? null])),
      }
    },
    async createTopic(at, { name, partitions, replication, configs }, limit) {
      const topics = [{ name, numPartitions: partitions, replicationFactor: replication, assignments: [], configs }]
      return refusal((await ask(at, 'createTopics', [topics, Math.round(limit.ms), false], limit)).topics[0])
    },
    async deleteTopic(at, topic, limit) {
      const answer = await ask(at, 'deleteTopics', [[{ name: topic }], Math.round(limit.ms)], limit)
      return refusal(answer.responses[0])
    },
    async coordinator(at, group, limit) {
      const [named] = (await ask(at, 'findCoordinator', [groupKey, [group]], limit)).coordinators
      return { ...refusal(named), broker: { host: named?.host ?? '', port: named?.port ?? 0 } }
    },
    async describeGroup(at, group, limit) {
      const [named] = (await ask(at, 'describeGroups', [[group], false], limit)).groups
      return { ...refusal(named), state: named?.groupState ?? '', members: named?.members?.length ?? 0 }
    },
    async committed(at, group, topic, partitions, limit) {
      const groups = [
        { groupId: group, memberId: null, memberEpoch: -1, topics: [{ name: topic, partitionIndexes: partitions }] },
      ]
      const [named] = (await ask(at, 'offsetFetch', [groups, false], limit)).groups
      const found = (named?.topics ?? []).flatMap((entry: any) => entry.partitions)
      const failed = found.find((entry: any) => entry.errorCode !== 0)
      return {
        error: named === undefined ? -1 : named.errorCode || failed?.errorCode || 0,
        message: null,
        offsets: found
          .filter((entry: any) => entry.committedOffset >= 0n)
          .map((entry: any) => ({ topic, partition: entry.partitionIndex, offset: entry.committedOffset })),
      }
    },
    async commit(at, group, offsets, limit) {
      const topics = [...Map.groupBy(offsets, ({ topic }) => topic)].map(([name, entries]) => ({
        name,
        partitions: entries.map(({ partition, offset }) => ({
          partitionIndex: partition,
          committedOffset: offset,
          committedLeaderEpoch: -1,
          committedMetadata: null,
        })),
      }))
      const answer = await ask(at, 'offsetCommit', [group, -1, '', null, topics], limit)
      const entries = answer.topics.flatMap((entry: any) => entry.partitions)
      return refusal(entries.find((entry: any) => entry.errorCode !== 0) ?? entries[0])
    },
    async deleteGroup(at, group, limit) {
      return refusal((await ask(at, 'deleteGroups', [[group]], limit)).results[0])
    },
    async close() {
      links.close()
    },
  }
}

function messagesOf({ topic, partition, records }: ProduceRequest): object[] {
  return records.map(({ key, value, headers, timestampMs }) => ({
    topic,
    partition,
    key,
    value,
    timestamp: BigInt(timestampMs),
    headers: new Map(headers.map(([name, bytes]) => [Buffer.from(name), bytes])),
  }))
}

function refusal(entry: { errorCode?: number; errorMessage?: string | null } | undefined): Refusal {
  return { error: entry?.errorCode ?? -1, message: entry?.errorMessage ?? null }
}

function cut({ connection }: Link): void {
  // It has none before it connects.
  const socket = connection.socket as Connection['socket'] | undefined
  connection.close(() => {})
  socket?.destroy()
}

/** The answer of the broker, when the library threw because there is an error in it. */
function answerIn(error: unknown): object | null {
  const { response } = error as { readonly response?: unknown }
  return typeof response === 'object' ? response : null
}

function refusedWith(error: unknown, code: number): boolean {
  const { errors } = error as { readonly errors?: readonly { readonly apiCode?: unknown }[] }
  return errors?.some(({ apiCode }) => apiCode === code) ?? false
}

function failure(error: unknown, sent: boolean): WireError {
  if (error instanceof WireError) return error
  if (isPostriderError(error)) return wireError('authentication', false, error)
  if (hasCode(error, 'PLT_KFK_AUTHENTICATION')) return wireError('authentication', false, error)
  if (hasCode(error, 'PLT_KFK_UNSUPPORTED_API')) return wireError('unsupported', false, error)
  // It has the code of a network error.
  if (error instanceof Error && error.constructor.name === 'TimeoutError') return wireError('silent', sent, error)
  // Its own words for a handshake that failed: there is no code.
  if (causes(error).some(({ message }) => message.includes('TLS'))) return wireError('tls', sent, error)
  return hasCode(error, 'PLT_KFK_NETWORK') ? connectionError(error, sent) : wireError('client', sent, error)
}

function hasCode(error: unknown, code: string): boolean {
  return causes(error).some((cause) => (cause as { readonly code?: unknown }).code === code)
}

function causes(error: unknown): Error[] {
  const found: Error[] = []
  for (let at = error; at instanceof Error && found.length < 8; at = at.cause) found.push(at)
  return found
}
