import { setTimeout as delay } from 'node:timers/promises'
import { causeOfCode, causeOfError, DriverError, protocol, type Cause } from './classify.ts'
import { WireError, type Address, type Broker, type Limit, type Metadata, type TopicMetadata, type Wire } from './wire.ts'

/** Metadata are asked for again after this time. */
const freshMs = 60_000
/** One broker is asked for so long, when there are others. */
const tryMs = 3_000
/** Before a question is asked again whose answer is expected to change soon: a topic that was just made, a leader that moves. */
const pausesMs = [50, 150, 400] as const

interface Known {
  readonly topic: TopicMetadata
  readonly at: number
  stale: boolean
}

/**
 * Who is who in the cluster. Every topic is asked for alone, so that one that is gone or forbidden is nobody else's trouble.
 */
export class Cluster {
  readonly #wire: Wire
  readonly #bootstrap: readonly Address[]
  readonly #brokers = new Map<number, Broker>()
  readonly #topics = new Map<string, Known>()
  readonly #asking = new Map<string, Promise<TopicMetadata>>()
  #good: Address | null = null
  readonly #requestMs: number

  constructor(wire: Wire, bootstrap: readonly Address[], requestMs: number) {
    this.#wire = wire
    this.#bootstrap = bootstrap
    this.#requestMs = requestMs
  }

  /** Asks the brokers one after the other until one answers. Throws the failure that tells most. */
  async any<T>(ask: (at: Address, limit: Limit) => Promise<T>, limit: Limit): Promise<T> {
    const until = performance.now() + limit.ms
    const addresses = this.#addresses()
    let worst: WireError | null = null
    for (const [index, at] of addresses.entries()) {
      const left = until - performance.now()
      if (left <= 0 && worst !== null) break
      const ms = index === addresses.length - 1 ? left : Math.min(left, tryMs)
      try {
        const answer = await ask(at, { ...limit, ms: Math.max(1, ms) })
        this.#good = at
        return answer
      } catch (error) {
        if (this.#good === at) this.#good = null
        if (!(error instanceof WireError) || error.trouble === 'aborted' || error.trouble === 'client') throw error
        if (worst === null || rank(error) > rank(worst)) worst = error
      }
    }
    throw worst ?? new WireError('refused', 'there is no broker to ask', false)
  }

  async metadata(topics: readonly string[], limit: Limit): Promise<Metadata> {
    const metadata = await this.any((at, rest) => this.#wire.metadata(at, topics, rest), limit)
    // An answer without brokers comes from one that is starting.
    if (metadata.brokers.length > 0) {
      this.#brokers.clear()
      for (const broker of metadata.brokers) this.#brokers.set(broker.id, broker)
    }
    return metadata
  }

  broker(id: number): Broker | null {
    return this.#brokers.get(id) ?? null
  }

  /** What the cluster says of a topic, errors included. */
  async topic(name: string, limit: Limit): Promise<TopicMetadata> {
    const known = this.#topics.get(name)
    if (known !== undefined && !known.stale && performance.now() - known.at < freshMs) return known.topic
    let asking = this.#asking.get(name)
    if (asking === undefined) {
      // Shared by all who wait, so it ends by its own deadline and not by the signal of one of them.
      asking = this.#ask(name).finally(() => this.#asking.delete(name))
      asking.catch(() => {})
      this.#asking.set(name, asking)
    }
    return await withSignal(asking, limit)
  }

  /** It was wrong, or may be: the next question goes to the cluster. */
  doubt(name: string): void {
    const known = this.#topics.get(name)
    if (known !== undefined) known.stale = true
  }

  /** Number of partitions; null when there is no such topic. Throws {@link DriverError}. */
  async partitions(name: string, limit: Limit): Promise<number | null> {
    for (let tries = 0; ; tries++) {
      const { error, partitions } = await this.#told(() => this.topic(name, limit))
      if (error === protocol.none && partitions.length > 0) return partitions.length
      this.doubt(name)
      if (error !== protocol.unknownTopic && error !== protocol.leaderNotAvailable && error !== protocol.none)
        throw new DriverError(causeOfCode(error, `topic ${name}`))
      if (tries === pausesMs.length) {
        if (error === protocol.unknownTopic) return null
        throw new DriverError(causeOfCode(protocol.leaderNotAvailable, `topic ${name}`))
      }
      await pause(pausesMs[tries] ?? 0, limit.signal)
    }
  }

  /** The broker that leads a partition now. Throws {@link DriverError} with the cause. */
  async leader(name: string, partition: number, limit: Limit): Promise<Address> {
    const { error, partitions } = await this.#told(() => this.topic(name, limit))
    const what = `${name}/${partition}`
    if (error !== protocol.none) throw this.#doubted(name, causeOfCode(error, what))
    const found = partitions.find((entry) => entry.partition === partition)
    if (found === undefined) throw this.#doubted(name, causeOfCode(protocol.unknownTopic, what))
    const leader = found.leader < 0 ? undefined : this.#brokers.get(found.leader)
    if (leader === undefined) throw this.#doubted(name, causeOfCode(found.error || protocol.leaderNotAvailable, what))
    return leader
  }

  #doubted(name: string, cause: Cause): DriverError {
    this.doubt(name)
    return new DriverError(cause)
  }

  async #told<T>(ask: () => Promise<T>): Promise<T> {
    try {
      return await ask()
    } catch (error) {
      throw error instanceof DriverError ? error : new DriverError(causeOfError(error), { cause: error })
    }
  }

  async #ask(name: string): Promise<TopicMetadata> {
    const { topics } = await this.metadata([name], { ms: this.#requestMs })
    const topic = topics.find((entry) => entry.name === name) ?? { name, error: protocol.unknownTopic, partitions: [] }
    this.#topics.set(name, { topic, at: performance.now(), stale: topic.error !== protocol.none })
    return topic
  }

  #addresses(): Address[] {
    const all = new Map<string, Address>()
    for (const at of [
      ...(this.#good === null ? [] : [this.#good]),
      ...shuffled([...this.#brokers.values()]),
      ...this.#bootstrap,
    ]) {
      const name = `${at.host}:${at.port}`
      if (!all.has(name)) all.set(name, at)
    }
    return [...all.values()]
  }
}

/** Waits, or throws when interrupted. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, signal === undefined ? {} : { signal })
  } catch {
    throw new WireError('aborted', 'interrupted', false)
  }
}

async function withSignal<T>(work: Promise<T>, { ms, signal }: Limit): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>()
  const abort = (): void => reject(new WireError('aborted', 'interrupted', false))
  const timer = setTimeout(() => reject(new WireError('silent', 'no answer from the brokers in time', false)), Math.max(1, ms))
  signal?.addEventListener('abort', abort)
  if (signal?.aborted === true) abort()
  try {
    return await Promise.race([work, promise])
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', abort)
    promise.catch(() => {})
  }
}

/** Credentials and certificates tell more than a broker that is down. */
function rank({ trouble }: WireError): number {
  return ['dns', 'refused', 'closed', 'silent', 'unsupported', 'tls', 'authentication'].indexOf(trouble)
}

function shuffled<T>(list: readonly T[]): T[] {
  return list
    .map((one) => ({ one, at: Math.random() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ one }) => one)
}
