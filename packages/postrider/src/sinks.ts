import type { Sink, SinkFamily, SinkOptions } from '@postrider/relay'
import { createWebhookEndpoints, createWebhookSink, type WebhookEndpointsOptions } from '@postrider/webhook'
import type { SinkConfig, WebhookConfig, WebhookEndpointsConfig } from './config.ts'

/**
 * The sink that a piece of configuration describes, or the family of those that will be its endpoints.
 * @throws PostriderError `invalid_options` with every problem of its options.
 */
export function createSink(name: string, config: SinkConfig): Sink | SinkFamily {
  switch (config.kind) {
    case 'webhook':
      return config.endpoints === undefined ? createSingle(name, config) : createWebhookEndpoints(endpointsOptions(name, config))
  }
}

/** What the endpoints of a sink have in common. */
export function endpointsOptions(name: string, config: WebhookEndpointsConfig): WebhookEndpointsOptions {
  const { ownOptions, concurrency } = split(config)
  const { endpoints, ...common } = ownOptions
  return { connections: connectionsFor(concurrency), ...common, ...endpoints, name }
}

function createSingle(name: string, config: WebhookConfig): Sink {
  const { ownOptions, concurrency } = split(config)
  return createWebhookSink({ connections: connectionsFor(concurrency), ...ownOptions, name })
}

/** One connection for every slot, so that no event waits where nobody sees it. */
function connectionsFor(concurrency: number | undefined): number {
  return Math.max(64, concurrency ?? 0)
}

/** The sinks of a configuration and how their streams are carried; the relay that gets them closes them. */
export function createSinks(configs: Readonly<Record<string, SinkConfig>>): SinkOptions[] {
  return Object.entries(configs).map(([name, config]) => ({ ...split(config).carried, sink: createSink(name, config) }))
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
