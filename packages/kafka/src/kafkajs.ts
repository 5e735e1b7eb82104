// oxlint-disable typescript/no-explicit-any -- these parts of the library have no types
import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions } from 'node:tls'
import { isPostriderError } from '@postrider/schema'
import { tlsOptions, type ConnectionSettings } from './connection.ts'
import { addZstd } from './kafkajs-compression.ts'
import { restWhenIdle } from './kafkajs-idle.ts'
import { loadKafkajs, type Broker, type ConnectionPool, type KafkajsEncoder, type Protocol } from './kafkajs-internals.ts'
import { Links } from './links.ts'
import { encodeBatch } from './record-batch.ts'
import { connectionError, wireError } from './trouble.ts'
import { within } from './within.ts'
import { WireError, type Address, type Limit, type Refusal, type Versions, type Wire } from './wire.ts'

interface Link {
  readonly broker: Broker
  readonly pool: ConnectionPool
  dropped: boolean
}

const used = {
  Produce: 0,
  Fetch: 1,
  ListOffsets: 2,
  Metadata: 3,
  OffsetCommit: 8,
  OffsetFetch: 9,
  GroupCoordinator: 10,
  DescribeGroups: 15,
  CreateTopics: 19,
  DeleteTopics: 20,
  InitProducerId: 22,
  DescribeConfigs: 32,
  DeleteGroups: 42,
} as const

const topicResource = 2
const allReplicas = -1
const neverMs = 2_147_483_647

/** Requests through kafkajs. Throws `client_missing`. */
export function openKafkajs(settings: ConnectionSettings): Wire {
  const { Broker, ConnectionPool, Encoder, crc32C, requests, createLogger, compression } = loadKafkajs()
  addZstd(compression)
  // What it would log is told by errors, and its log may hold what should not be read.
  const logger = createLogger({ level: 0, logCreator: () => () => {} })
  const speaks = new Map<number, Versions>()
  for (const [name, key] of Object.entries(used)) {
    const versions = (requests[name]?.versions ?? []).map(Number)
    speaks.set(key, { min: Math.min(...versions), max: Math.max(...versions) })
  }

  const links = new Links<Link>(
    async ({ host, port }) => {
      const password = await settings.sasl?.password()
      const pool = new ConnectionPool({
        host,
        port,
        logger,
        clientId: settings.clientId,
        socketFactory: openSocket,
        ssl: settings.tls === null ? null : tlsOptions(settings.tls),
        sasl: settings.sasl === null ? null : { mechanism: settings.sasl.mechanism, username: settings.sasl.username, password },
        connectionTimeout: settings.connectMs,
        requestTimeout: neverMs,
        // Each request has a deadline of its own here; kafkajs would look at them ten times a second.
        enforceRequestTimeout: false,
        maxInFlightRequests: null,
      })
      for (const connection of pool.pool) restWhenIdle(connection)
      const broker = new Broker({
        connectionPool: pool,
        logger,
        authenticationTimeout: settings.connectMs,
        allowAutoTopicCreation: false,
      })
      const link: Link = { broker, pool, dropped: false }
      try {
        await within({ ms: settings.connectMs }, false, broker.connect(), () => cut(link))
      } catch (error) {
        cut(link)
        throw error
      }
      return link
    },
    (link) => !link.dropped && link.broker.isConnected(),
    cut,
  )

  async function link(at: Address, limit: Limit): Promise<Link> {
    if (links.closed) throw wireError('aborted', false)
    try {
      return await within(limit, false, links.get(at), () => {})
    } catch (error) {
      throw failure(error, false)
    }
  }

  /** One request; errors of the protocol stand in the answer, because it is decoded but not judged by kafkajs. */
  async function ask(
    at: Address,
    name: keyof typeof used,
    options: object,
    limit: Limit,
    body?: (encoder: KafkajsEncoder) => KafkajsEncoder,
  ): Promise<any> {
    const started = performance.now()
    const to = await link(at, limit)
    let protocol: Protocol
    try {
      // It looks at the highest version of the broker alone, and would send one that the broker has dropped.
      const mine = speaks.get(used[name])
      const definition = requests[name]
      const theirs = to.broker.versions[used[name]]
      if (mine === undefined || definition === undefined || theirs === undefined || theirs.minVersion > mine.max)
        throw wireError('unsupported', false)
      protocol = to.broker.lookupRequest(used[name], definition)(options)
    } catch (error) {
      throw failure(error, false)
    }
    const request = body === undefined ? protocol.request : { ...protocol.request, encode: async () => body(new Encoder()) }
    const rest = { ...limit, ms: limit.ms - (performance.now() - started) }
    try {
      const response = { decode: (raw: unknown) => protocol.response.decode(raw), parse: async (data: unknown) => data }
      return await within(rest, true, to.pool.send({ request, response }), () => links.drop(at, to))
    } catch (error) {
      const told = failure(error, true)
      if (told.trouble !== 'aborted' && told.trouble !== 'client') links.drop(at, to)
      throw told
    }
  }

  return {
    name: 'kafkajs',
    speaks,
    async versions(at, limit) {
      const { broker } = await link(at, limit)
      return new Map(
        Object.entries(broker.versions).map(([key, { minVersion: min, maxVersion: max }]) => [Number(key), { min, max }]),
      )
    },
    async metadata(at, topics, limit) {
      const answer = await ask(
        at,
        'Metadata',
        { topics, allowAutoTopicCreation: false },
        limit,
        // kafkajs would ask for all topics.
        topics.length === 0 ? (encoder) => encoder.writeArray([]).writeBoolean(false) : undefined,
      )
      return {
        clusterId: answer.clusterId ?? null,
        controllerId: answer.controllerId,
        brokers: answer.brokers.map((broker: any) => ({
          id: broker.nodeId,
          host: broker.host,
          port: broker.port,
          rack: broker.rack || null,
        })),
        topics: answer.topicMetadata.map((topic: any) => ({
          name: topic.topic,
          error: topic.topicErrorCode,
          partitions: topic.partitionMetadata.map((partition: any) => ({
            partition: partition.partitionId,
            error: partition.partitionErrorCode,
            leader: partition.leader,
            replicas: partition.replicas,
            inSync: partition.isr,
          })),
        })),
      }
    },
    async initProducer(at, limit) {
      const answer = await ask(at, 'InitProducerId', {}, limit)
      const { errorCode, producerId, producerEpoch } = answer
      return { error: errorCode, message: null, producer: { id: BigInt(producerId), epoch: producerEpoch } }
    },
    async produce(at, request, limit) {
      const { topic, partition, timeoutMs } = request
      const batch = await encodeBatch(request, crc32C)
      const answer = await ask(at, 'Produce', { acks: allReplicas, timeout: timeoutMs, topicData: [] }, limit, (encoder) =>
        encoder
          .writeString(null) // no transaction
          .writeInt16(allReplicas)
          .writeInt32(timeoutMs)
          .writeInt32(1)
          .writeString(topic)
          .writeInt32(1)
          .writeInt32(partition)
          .writeInt32(batch.length)
          .writeBuffer(batch),
      )
      const [named, ...others] = answer.topics.flatMap((entry: any) => (entry.topicName === topic ? entry.partitions : [entry]))
      if (named === undefined || others.length > 0 || named.partition !== partition) return null
      return { error: named.errorCode, baseOffset: BigInt(named.baseOffset) }
    },
    async offset(at, topic, partition, time, limit) {
      const topics = [{ topic, partitions: [{ partition, timestamp: time }] }]
      const answer = await ask(at, 'ListOffsets', { topics, isolationLevel: 0 }, limit)
      const named = answer.responses[0]?.partitions[0]
      return { error: named?.errorCode ?? -1, offset: BigInt(named?.offset ?? -1) }
    },
    async fetch(at, topic, partition, from, maxBytes, limit) {
      const topics = [{ topic, partitions: [{ partition, fetchOffset: String(from), maxBytes }] }]
      const answer = await ask(at, 'Fetch', { isolationLevel: 0, maxWaitTime: 100, minBytes: 1, maxBytes, topics }, limit)
      const named = answer.responses[0]?.partitions[0]
      if (named === undefined) return { error: answer.errorCode || -1, first: 0n, next: 0n, records: [], end: null }
      const { messages } = named
      const last = messages.at(-1)
      const context = last?.batchContext
      return {
        error: named.errorCode,
        first: BigInt(named.lastStartOffset ?? 0),
        next: BigInt(named.highWatermark),
        end: last === undefined ? null : BigInt(context?.firstOffset ?? last.offset) + BigInt(context?.lastOffsetDelta ?? 0) + 1n,
        records: messages
          .filter((message: any) => message.isControlRecord !== true)
          .map((message: any) => ({
            offset: BigInt(message.offset),
            timestampMs: Number(message.timestamp),
            key: message.key ?? null,
            value: message.value ?? null,
            headers: new Map(
              Object.entries(message.headers as Record<string, Buffer | Buffer[]>).map(([name, value]) => [
                name,
                [value].flat().at(-1) ?? Buffer.alloc(0),
              ]),
            ),
          })),
      }
    },
    async describeTopic(at, topic, names, limit) {
      const resources = [{ type: topicResource, name: topic, configNames: names ?? [] }]
      const answer = await ask(at, 'DescribeConfigs', { resources }, limit)
      const [named] = answer.resources
      return {
        error: named?.errorCode ?? -1,
        message: named?.errorMessage ?? null,
        configs: new Map((named?.configEntries ?? []).map((entry: any) => [entry.configName, entry.configValue ?? null])),
      }
    },
    async createTopic(at, { name, partitions, replication, configs }, limit) {
      const topics = [{ topic: name, numPartitions: partitions, replicationFactor: replication, configEntries: configs }]
      return refusal((await ask(at, 'CreateTopics', { topics, timeout: limit.ms }, limit)).topicErrors[0])
    },
    async deleteTopic(at, topic, limit) {
      return refusal((await ask(at, 'DeleteTopics', { topics: [topic], timeout: limit.ms }, limit)).topicErrors[0])
    },
    async coordinator(at, group, limit) {
      const answer = await ask(at, 'GroupCoordinator', { groupId: group, coordinatorType: 0 }, limit)
      return { ...refusal(answer), broker: { host: answer.coordinator.host, port: answer.coordinator.port } }
    },
    async describeGroup(at, group, limit) {
      const [named] = (await ask(at, 'DescribeGroups', { groupIds: [group] }, limit)).groups
      return { ...refusal(named), state: named?.state ?? '', members: named?.members?.length ?? 0 }
    },
    async committed(at, group, topic, partitions, limit) {
      const topics = [{ topic, partitions: partitions.map((partition) => ({ partition })) }]
      const answer = await ask(at, 'OffsetFetch', { groupId: group, topics }, limit)
      const found = answer.responses.flatMap((entry: any) => entry.partitions)
      const failed = found.find((entry: any) => entry.errorCode !== 0)
      return {
        error: answer.errorCode || failed?.errorCode || 0,
        message: null,
        offsets: found
          .filter((entry: any) => BigInt(entry.offset) >= 0n)
          .map((entry: any) => ({ topic, partition: entry.partition, offset: BigInt(entry.offset) })),
      }
    },
    async commit(at, group, offsets, limit) {
      const topics = Map.groupBy(offsets, ({ topic }) => topic)
      const answer = await ask(
        at,
        'OffsetCommit',
        {
          groupId: group,
          groupGenerationId: -1,
          memberId: '',
          topics: [...topics].map(([topic, entries]) => ({
            topic,
            partitions: entries.map(({ partition, offset }) => ({ partition, offset: String(offset) })),
          })),
        },
        limit,
      )
      const entries = answer.responses.flatMap((entry: any) => entry.partitions)
      return refusal(entries.find((entry: any) => entry.errorCode !== 0) ?? entries[0])
    },
    async deleteGroup(at, group, limit) {
      return refusal((await ask(at, 'DeleteGroups', [group], limit)).results[0])
    },
    async close() {
      links.close()
    },
  }
}

function refusal(entry: { errorCode?: number; errorMessage?: string | null } | undefined): Refusal {
  return { error: entry?.errorCode ?? -1, message: entry?.errorMessage ?? null }
}

function openSocket({
  host,
  port,
  ssl,
  onConnect,
}: {
  host: string
  port: number
  ssl: ConnectionOptions | null
  onConnect: () => void
}): Socket {
  const socket =
    ssl === null
      ? connectTcp({ host, port }, onConnect)
      : connectTls({ host, port, ...(isIP(host) === 0 ? { servername: host } : {}), ...ssl }, onConnect)
  socket.setKeepAlive(true, 60_000)
  socket.setNoDelay(true)
  return socket
}

/** Ends the sockets at once. With an error, because kafkajs fails what is in flight only then. */
function cut(link: Link): void {
  link.dropped = true
  for (const { socket } of link.pool.pool) socket?.destroy(Object.assign(new Error('given up'), { code: 'ECONNABORTED' }))
}

function failure(error: unknown, sent: boolean): WireError {
  if (error instanceof WireError) return error
  if (isPostriderError(error)) return wireError('authentication', false, error)
  const { name } = error as Error
  switch (name) {
    case 'KafkaJSSASLAuthenticationError':
      return wireError('authentication', false, error)
    case 'KafkaJSServerDoesNotSupportApiKey':
      return wireError('unsupported', false, error)
    case 'KafkaJSConnectionError':
      return connectionError(error, sent)
    case 'KafkaJSConnectionClosedError':
      return wireError('closed', sent, error)
    case 'KafkaJSLockTimeout':
    case 'KafkaJSTimeout':
    case 'KafkaJSRequestTimeoutError':
      return wireError('silent', sent, error)
    case 'KafkaJSProtocolError':
      // Only on the way to a connection: the versions or the handshake.
      return (error as { type?: unknown }).type === 'UNSUPPORTED_VERSION'
        ? wireError('unsupported', false, error)
        : wireError(/SASL/.test(String((error as { type?: unknown }).type)) ? 'authentication' : 'client', sent, error)
    default:
      return wireError('client', sent, error)
  }
}
