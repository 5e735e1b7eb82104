import type { Sink, SinkFamily, SinkOptions } from '@postrider/relay'
import type { WebhookEndpointsOptions } from '@postrider/webhook'
import type { KafkaConfig, SinkConfig, WebhookConfig, WebhookEndpointsConfig } from './config.ts'
import { kindOf } from './mode.ts'

// What a kind of sink is made of is loaded only by those who have one.

/**
 * The sink that a piece of configuration describes, or the family of those that will be its endpoints.
 * @param warn gets what an operator should know
 * @param own where the relay itself listens and reads: out of reach for every webhook
 * @throws PostriderError `invalid_options` with every problem of its options; `client_missing`.
 */
export async function createSink(
  name: string,
  config: SinkConfig,
  warn?: (message: string) => void,
  own: readonly string[] = [],
): Promise<Sink | SinkFamily> {
  switch (config.kind) {
    case 'webhook':
      return config.endpoints === undefined ? await createSingle(name, config, own) : await createMany(name, config, own)
    case 'kafka':
      return await createStream(name, config, warn)
  }
}

/** What the endpoints of a sink have in common. */
export function endpointsOptions(name: string, config: WebhookEndpointsConfig, own: readonly string[]): WebhookEndpointsOptions {
  const { ownOptions, concurrency } = split(config)
  const { endpoints, deny = [], ...common } = ownOptions
  return { connections: connectionsFor(concurrency), ...common, ...endpoints, deny: [...deny, ...own], name }
}

async function createMany(name: string, config: WebhookEndpointsConfig, own: readonly string[]): Promise<SinkFamily> {
  const { createWebhookEndpoints } = await import('@postrider/webhook')
  return createWebhookEndpoints(endpointsOptions(name, config, own))
}

async function createSingle(name: string, config: WebhookConfig, own: readonly string[]): Promise<Sink> {
  const { createWebhookSink } = await import('@postrider/webhook')
  const { ownOptions, concurrency } = split(config)
  const { deny = [], ...options } = ownOptions
  return createWebhookSink({ connections: connectionsFor(concurrency), ...options, deny: [...deny, ...own], name })
}

async function createStream(name: string, config: KafkaConfig, warn: ((message: string) => void) | undefined): Promise<Sink> {
  const { createKafkaSink } = await import('@postrider/kafka')
  const { mode, ...options } = split(config).ownOptions
  const sink = await createKafkaSink({ ...options, name, ...(warn !== undefined && { warn }) })
  return { ...sink, kind: kindOf(mode ?? 'live') }
}

/** One connection for every slot, so that no event waits where nobody sees it. */
function connectionsFor(concurrency: number | undefined): number {
  return Math.max(64, concurrency ?? 0)
}

/** The sinks of a configuration and how their streams are carried; the relay that gets them closes them. */
export async function createSinks(
  configs: Readonly<Record<string, SinkConfig>>,
  warn?: (sink: string, message: string) => void,
  own: readonly string[] = [],
): Promise<SinkOptions[]> {
  return await Promise.all(
    Object.entries(configs).map(async ([name, config]) => ({
      ...split(config).carried,
      sink: await createSink(name, config, warn && ((message) => warn(name, message)), own),
    })),
  )
}

type Carried = Omit<SinkOptions, 'sink'>

interface Split<Config> {
  readonly carried: Given<Carried>
  readonly concurrency: number | undefined
  readonly ownOptions: Omit<Config, keyof Carried | 'kind'>
}

/** What the relay has to know of a sink, and what the sink itself. */
function split<Config extends SinkConfig>(config: Config): Split<Config> {
  const {
    kind: _kind,
    types,
    lanes,
    concurrency,
    rate,
    circuit,
    ordering,
    onDead,
    retry,
    audit,
    startFrom,
    ...ownOptions
  } = config
  const carried = { types, lanes, concurrency, rate, circuit, ordering, onDead, retry, audit, startFrom }
  return { carried: given<object>(carried), concurrency, ownOptions }
}

type Given<T> = { [Name in keyof T]?: Exclude<T[Name], undefined> }

/** Only what is there: an absent option is not the same as one that is undefined. */
function given<T extends object>(options: T): Given<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Given<T>
}
