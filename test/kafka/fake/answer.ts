/** The six requests of a producer and a plain reader: how each is read and answered, in each version. */
import type { Api, Fault, Spot } from './faults.ts'
import { errors, type ErrorName, type State } from './state.ts'
import type { Reader, Writer } from './wire.ts'

/** Versions that are spoken, and the first that is flexible. */
export const apis: Readonly<Record<number, { name: Api; min: number; max: number; flexible: number }>> = {
  0: { name: 'Produce', min: 3, max: 11, flexible: 9 },
  1: { name: 'Fetch', min: 4, max: 17, flexible: 12 },
  2: { name: 'ListOffsets', min: 1, max: 9, flexible: 6 },
  3: { name: 'Metadata', min: 1, max: 12, flexible: 9 },
  18: { name: 'ApiVersions', min: 0, max: 4, flexible: 3 },
  22: { name: 'InitProducerId', min: 0, max: 5, flexible: 2 },
}

/** In place of the operations that a client is authorised for. */
const notAsked = -(2 ** 31)

/** A request at a node. Answering it may throw what `strike` throws, which ends the connection or the answer. */
export interface Call {
  readonly state: State
  readonly node: number
  readonly version: number
  readonly ask: Reader
  readonly answer: Writer
  readonly ports: ReadonlyMap<number, number>
  readonly strike: (spot: Omit<Spot, 'api' | 'node'>) => Fault | undefined
}

/** Writes the answer; false when the client wants none. */
export const answers: Readonly<Record<Api, (call: Call) => boolean>> = {
  ApiVersions({ version, answer }) {
    answer.int16(errors.NONE).array(Object.entries(apis), ([key, { min, max }]) => {
      answer.int16(Number(key)).int16(min).int16(max).tags()
    })
    if (version >= 1) answer.int32(0)
    answer.tags()
    return true
  },

  Metadata({ state, version, ask, answer, ports }) {
    const asked = ask.array(() => {
      const id = version >= 10 ? ask.uuid() : ''
      const name = ask.string()
      ask.tags()
      return name ?? [...state.topics.values()].find((topic) => topic.id === id)?.name ?? ''
    })
    if (version >= 3) answer.int32(0)
    answer.array([...ports], ([node, port]) => answer.int32(node).string('127.0.0.1').int32(port).string(null).tags())
    if (version >= 2) answer.string('fake')
    answer.int32(state.nodes[0] ?? 0)
    answer.array(asked ?? [...state.topics.keys()], (name) => {
      const topic = state.topics.get(name)
      answer.int16(errors[topic === undefined ? 'UNKNOWN_TOPIC_OR_PARTITION' : 'NONE']).string(name)
      if (version >= 10) answer.uuid(topic?.id ?? '00'.repeat(16))
      answer.boolean(false).array([...(topic?.partitions ?? []).entries()], ([index, { leader, leaderEpoch }]) => {
        answer
          .int16(errors[leader < 0 ? 'LEADER_NOT_AVAILABLE' : 'NONE'])
          .int32(index)
          .int32(leader)
        if (version >= 7) answer.int32(leaderEpoch)
        for (const replicas of [state.nodes, state.nodes]) answer.array(replicas, (node) => answer.int32(node))
        if (version >= 5) answer.array([], () => {})
        answer.tags()
      })
      if (version >= 8) answer.int32(notAsked)
      answer.tags()
    })
    if (version >= 8 && version <= 10) answer.int32(notAsked)
    answer.tags()
    return true
  },

  InitProducerId({ state, answer }) {
    answer.int32(0).int16(errors.NONE).int64(state.newProducerId()).int16(0).tags()
    return true
  },

  Produce({ state, node, version, ask, answer, strike }) {
    ask.string() // transactional id
    const acks = ask.int16()
    ask.int32() // timeout
    const topics = readTopics(ask, () => ({ partition: ask.int32(), records: ask.byteString() ?? Buffer.alloc(0) }))
    const struck = topics.map(({ name, partitions }) =>
      partitions.map(({ partition }) => strike({ topic: name ?? '', partition })),
    )
    answer.array([...topics.entries()], ([at, { name, partitions }]) => {
      answer.string(name).array([...partitions.entries()], ([nth, { partition, records }]) => {
        const fault = struck[at]?.[nth]
        const written = fault?.do === 'error' ? undefined : state.append(node, name ?? '', partition, records)
        const failed = fault !== undefined && 'error' in fault && written?.error !== undefined && written.error !== 'NONE'
        const error: ErrorName = fault !== undefined && 'error' in fault && !failed ? fault.error : (written?.error ?? 'NONE')
        answer
          .int32(partition)
          .int16(errors[error])
          .int64(error === 'NONE' ? (written?.baseOffset ?? -1n) : -1n)
          .int64(-1n)
        if (version >= 5) answer.int64(0n)
        if (version >= 8) answer.array([], () => {}).string(null)
        answer.tags()
      })
      answer.tags()
    })
    answer.int32(0).tags()
    return acks !== 0
  },

  ListOffsets({ state, node, version, ask, answer, strike }) {
    ask.int32() // replica
    if (version >= 2) ask.int8() // isolation level
    const topics = readTopics(ask, () => {
      const partition = ask.int32()
      if (version >= 4) ask.int32() // leader epoch
      return { partition, timestamp: ask.int64() }
    })
    if (version >= 2) answer.int32(0)
    answer.array(topics, ({ name, partitions }) => {
      answer.string(name).array(partitions, ({ partition, timestamp }) => {
        const { error, found } = look(state, node, name, partition, strike)
        // -2 asks for the beginning, -1 for the end, any other for the first record that is not older.
        const records = timestamp >= 0n && found ? state.log(name ?? '', partition) : []
        const first = records.find(({ timestampMs }) => BigInt(timestampMs) >= timestamp)
        const offset = timestamp === -2n ? 0n : timestamp === -1n ? (found?.next ?? -1n) : (first?.offset ?? -1n)
        answer
          .int32(partition)
          .int16(errors[error])
          .int64(BigInt(first?.timestampMs ?? -1))
          .int64(found ? offset : -1n)
        if (version >= 4) answer.int32(found?.leaderEpoch ?? -1)
        answer.tags()
      })
      answer.tags()
    })
    answer.tags()
    return true
  },

  Fetch({ state, node, version, ask, answer, strike }) {
    ask.take(version >= 15 ? 12 : 16) // replica (a tagged field in later versions), longest wait, least and most bytes
    ask.int8() // isolation level
    if (version >= 7) ask.take(8) // session
    const topics = readTopics(
      ask,
      () => {
        const partition = ask.int32()
        if (version >= 9) ask.int32() // leader epoch
        const offset = ask.int64()
        if (version >= 12) ask.int32() // epoch of the last record
        if (version >= 5) ask.int64() // start of the follower's log
        return { partition, offset, most: ask.int32() }
      },
      version >= 13,
    )
    answer.int32(0)
    if (version >= 7) answer.int16(errors.NONE).int32(0)
    answer.array(topics, ({ name: asked, partitions }) => {
      const name = version >= 13 ? [...state.topics.values()].find(({ id }) => id === asked)?.name : asked
      if (version >= 13) answer.uuid(asked ?? '')
      else answer.string(asked)
      answer.array(partitions, ({ partition, offset, most }) => {
        const { error, found } = look(state, node, name ?? null, partition, strike)
        const next = found?.next ?? -1n
        const outside = found !== undefined && (offset < 0n || offset > next)
        answer
          .int32(partition)
          .int16(errors[outside ? 'OFFSET_OUT_OF_RANGE' : error])
          .int64(next)
          .int64(next)
        if (version >= 5) answer.int64(0n)
        answer.array([], () => {}) // aborted transactions
        if (version >= 11) answer.int32(-1)
        let size = 0
        const batches = outside ? [] : (found?.batches ?? []).filter((batch) => batch.next > offset)
        // At least one batch, however large, so that a reader goes on.
        answer.byteString(
          Buffer.concat(batches.map(({ bytes }) => bytes).filter(({ length }) => (size += length) <= most || size === length)),
        )
        answer.tags()
      })
      answer.tags()
    })
    answer.tags()
    return true
  },
}

function readTopics<T>(ask: Reader, partition: () => T, byId = false): { name: string | null; partitions: T[] }[] {
  const topics = ask.array(() => {
    const name = byId ? ask.uuid() : ask.string()
    const partitions = ask.array(() => {
      const read = partition()
      ask.tags()
      return read
    })
    ask.tags()
    return { name, partitions: partitions ?? [] }
  })
  return topics ?? []
}

/** A partition to read from, if this node leads it and no fault says otherwise. */
function look(
  state: State,
  node: number,
  topic: string | null,
  partition: number,
  strike: Call['strike'],
): { error: ErrorName; found: ReturnType<State['find']> } {
  const fault = strike({ topic: topic ?? '', partition })
  const found = state.find(topic ?? '', partition)
  const error = found === undefined ? 'UNKNOWN_TOPIC_OR_PARTITION' : found.leader === node ? 'NONE' : 'NOT_LEADER_OR_FOLLOWER'
  if (fault !== undefined && 'error' in fault) return { error: fault.error, found: undefined }
  return { error, found: error === 'NONE' ? found : undefined }
}
