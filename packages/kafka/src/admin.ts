import { PostriderError } from '@postrider/schema'
import { checkDriverOptions, type ClientSettings } from './check-options.ts'
import { causeOfCode, causeOfError, DriverError, protocol } from './classify.ts'
import { Cluster, pause } from './cluster.ts'
import { openWire } from './open.ts'
import type { KafkaConnectionOptions } from './options.ts'
import { isTopicName } from './topic-template.ts'
import type { Address, Broker, Committed, Limit, PartitionMetadata, Refusal, Versions, Wire } from './wire.ts'

export interface ClusterDescription {
  readonly clusterId: string | null
  readonly controllerId: number
  readonly brokers: readonly (Broker & {
    /** null: it did not answer. */
    readonly versions: ReadonlyMap<number, Versions> | null
  })[]
  /** Requests of the protocol that this client needs, with the versions that it speaks. */
  readonly speaks: ReadonlyMap<number, Versions>
}

export interface TopicDescription {
  readonly name: string
  readonly partitions: readonly Omit<PartitionMetadata, 'error'>[]
  /** Replicas of the partition that has the fewest. */
  readonly replication: number
  /** Empty when they may not be asked for. */
  readonly configs: ReadonlyMap<string, string | null>
}

export interface NewTopic {
  readonly name: string
  readonly partitions: number
  /** Default -1: that of the cluster. */
  readonly replication?: number
  readonly configs?: Readonly<Record<string, string>>
}

export interface GroupState {
  /** `absent`: nobody knows it. `empty`: it has offsets, and no members. `active`: it has members. */
  readonly state: 'absent' | 'empty' | 'active'
  readonly members: number
}

/** What an operator does at a cluster; the same for both clients. Every call has a deadline of its own, and throws a PostriderError. */
export interface KafkaAdmin extends AsyncDisposable {
  readonly client: 'kafkajs' | 'platformatic'
  describeCluster(signal?: AbortSignal): Promise<ClusterDescription>
  /** null: there is no such topic. */
  describeTopic(name: string, signal?: AbortSignal): Promise<TopicDescription | null>
  /** Answers `exists` for a topic that is there already, and leaves it as it is. */
  createTopic(topic: NewTopic, signal?: AbortSignal): Promise<'created' | 'exists'>
  deleteTopic(name: string, signal?: AbortSignal): Promise<void>
  groupState(group: string, signal?: AbortSignal): Promise<GroupState>
  /** Committed offsets: of the record that is read next. Partitions without one are missing. */
  groupOffsets(group: string, topic: string, signal?: AbortSignal): Promise<ReadonlyMap<number, bigint>>
  /** Throws `group_not_empty` while the group has members. Makes the group when it is absent. */
  setGroupOffsets(group: string, offsets: readonly Committed[], signal?: AbortSignal): Promise<void>
  /** Throws `group_not_empty` while the group has members. Nothing happens when it is absent. */
  deleteGroup(group: string, signal?: AbortSignal): Promise<void>
  /** True when this client may write idempotently. */
  mayWriteIdempotently(signal?: AbortSignal): Promise<boolean>
}

/** A coordinator that is just being chosen, or a controller: asked again so often, with a pause that grows. */
const tries = 12
const pauseMs = 100
const longestPauseMs = 1_000

/** Opens the administration of a cluster. It connects when it is first used; dispose of it. Throws `invalid_options` or `client_missing`. */
export async function openKafkaAdmin(options: KafkaConnectionOptions): Promise<KafkaAdmin> {
  const settings = checkDriverOptions(options)
  return adminOf(settings, await openWire(settings))
}

export function adminOf(settings: ClientSettings, wire: Wire): KafkaAdmin {
  const { requestMs } = settings.timeouts
  const cluster = new Cluster(wire, settings.driver.brokers, requestMs)
  const limitOf = (signal: AbortSignal | undefined): Limit => ({ ms: requestMs, ...(signal === undefined ? {} : { signal }) })

  /** Again while the one to ask is being chosen. */
  async function asked<T extends Refusal>(
    what: string,
    limit: Limit,
    ask: () => Promise<T>,
    accepted: readonly number[] = [],
  ): Promise<T> {
    for (let count = 1; ; count++) {
      let cause
      try {
        const answer = await ask()
        if (answer.error === protocol.none || accepted.includes(answer.error)) return answer
        cause = causeOfCode(answer.error, what)
        if (answer.message !== null && answer.message !== '') cause = { ...cause, message: `${cause.message}: ${answer.message}` }
      } catch (error) {
        if (error instanceof PostriderError) throw error
        cause = causeOfError(error)
        cause = { ...cause, message: `${what}: ${cause.message}` }
      }
      if (cause.retry !== 'now' || count === tries) throw new DriverError(cause)
      await pause(Math.min(longestPauseMs, pauseMs * count), limit.signal)
    }
  }

  async function controller(limit: Limit): Promise<Address> {
    const { controllerId } = await cluster.metadata([], limit)
    const found = cluster.broker(controllerId)
    if (found === null) throw new DriverError(causeOfCode(protocol.notController, 'the controller'))
    return found
  }

  async function atCoordinator<T extends Refusal>(
    group: string,
    limit: Limit,
    ask: (at: Address) => Promise<T>,
    accepted: readonly number[] = [],
  ): Promise<T> {
    return await asked(
      `group ${group}`,
      limit,
      async () => {
        const found = await cluster.any((at, rest) => wire.coordinator(at, group, rest), limit)
        return found.error === protocol.none ? await ask(found.broker) : ({ error: found.error, message: found.message } as T)
      },
      accepted,
    )
  }

  const admin: KafkaAdmin = {
    client: wire.name,
    async describeCluster(signal) {
      const limit = limitOf(signal)
      const metadata = await told(() => cluster.metadata([], limit))
      const brokers = await Promise.all(
        metadata.brokers.map(async (broker) => ({ ...broker, versions: await wire.versions(broker, limit).catch(() => null) })),
      )
      return { clusterId: metadata.clusterId, controllerId: metadata.controllerId, brokers, speaks: wire.speaks }
    },
    async describeTopic(name, signal) {
      const limit = limitOf(signal)
      cluster.doubt(name)
      if ((await cluster.partitions(name, limit)) === null) return null
      const { partitions } = await cluster.topic(name, limit)
      const configs = await told(() => cluster.any((at, rest) => wire.describeTopic(at, name, null, rest), limit))
      return {
        name,
        partitions: partitions.map(({ error: _error, ...rest }) => rest).toSorted((a, b) => a.partition - b.partition),
        replication: Math.min(...partitions.map(({ replicas }) => replicas.length)),
        configs: configs.configs,
      }
    },
    async createTopic({ name, partitions, replication = -1, configs = {} }, signal) {
      const problems: string[] = []
      if (!isTopicName(name)) problems.push('name: no legal name of a topic')
      if (!Number.isInteger(partitions) || (partitions < 1 && partitions !== -1))
        problems.push('partitions: a whole number from 1')
      if (problems.length > 0) throw new PostriderError('invalid_options', `Topic ${name}: ${problems.join('; ')}`, { problems })
      const limit = limitOf(signal)
      const list = Object.entries(configs).map(([key, value]) => ({ name: key, value }))
      const { error } = await asked(
        `topic ${name}`,
        limit,
        async () => await wire.createTopic(await controller(limit), { name, partitions, replication, configs: list }, limit),
        [protocol.topicAlreadyExists],
      )
      cluster.doubt(name)
      return error === protocol.topicAlreadyExists ? 'exists' : 'created'
    },
    async deleteTopic(name, signal) {
      const limit = limitOf(signal)
      // Not asked again when it is unknown: it is gone.
      await asked(`topic ${name}`, limit, async () => await wire.deleteTopic(await controller(limit), name, limit), [
        protocol.unknownTopic,
      ])
      cluster.doubt(name)
    },
    async groupState(group, signal) {
      const limit = limitOf(signal)
      const answer = await atCoordinator(group, limit, (at) => wire.describeGroup(at, group, limit), [protocol.groupNotFound])
      if (answer.error === protocol.groupNotFound || answer.state === 'Dead' || answer.state === '')
        return { state: 'absent', members: 0 }
      return { state: answer.members > 0 || answer.state !== 'Empty' ? 'active' : 'empty', members: answer.members }
    },
    async groupOffsets(group, topic, signal) {
      const limit = limitOf(signal)
      const count = await cluster.partitions(topic, limit)
      if (count === null) throw new DriverError(causeOfCode(protocol.unknownTopic, `topic ${topic}`))
      const partitions = Array.from({ length: count }, (_, partition) => partition)
      const answer = await atCoordinator(group, limit, (at) => wire.committed(at, group, topic, partitions, limit), [
        protocol.groupNotFound,
      ])
      // Where the group is unknown there is no list either.
      const offsets = answer.error === protocol.groupNotFound ? [] : answer.offsets
      return new Map(offsets.map(({ partition, offset }) => [partition, offset]))
    },
    async setGroupOffsets(group, offsets, signal) {
      const limit = limitOf(signal)
      const { state, members } = await admin.groupState(group, signal)
      if (state === 'active') throw new PostriderError('group_not_empty', `group ${group} has ${members} members`)
      // A member that joined in between makes the coordinator refuse.
      await atCoordinator(group, limit, (at) => wire.commit(at, group, offsets, limit))
    },
    async deleteGroup(group, signal) {
      const limit = limitOf(signal)
      await atCoordinator(group, limit, (at) => wire.deleteGroup(at, group, limit), [protocol.groupNotFound])
    },
    async mayWriteIdempotently(signal) {
      const limit = limitOf(signal)
      const answer = await asked(
        'a producer id',
        limit,
        async () => await cluster.any((at, rest) => wire.initProducer(at, rest), limit),
        [protocol.clusterAuthorizationFailed],
      )
      return answer.error === protocol.none
    },
    async [Symbol.asyncDispose]() {
      await wire.close()
    },
  }
  return admin
}

async function told<T>(ask: () => Promise<T>): Promise<T> {
  try {
    return await ask()
  } catch (error) {
    throw error instanceof PostriderError ? error : new DriverError(causeOfError(error), { cause: error })
  }
}
