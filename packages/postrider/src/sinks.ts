import type { Sink, SinkOptions } from '@postrider/relay'
import { createWebhookSink, type WebhookOptions } from '@postrider/webhook'
import type { SinkConfig } from './config.ts'

/**
 * The sink that a piece of configuration describes.
 * @throws PostriderError `invalid_options` with every problem of its options.
 */
export function createSink(name: string, config: SinkConfig): Sink {
  const { kind, concurrency, ownOptions } = split(config)
  switch (kind) {
    case 'webhook':
      // One connection for every slot, so that no event waits where nobody sees it.
      return createWebhookSink({ connections: Math.max(64, concurrency ?? 0), ...ownOptions, name })
  }
}

/** The sinks of a configuration and how their streams are carried; the relay that gets them closes them. */
export function createSinks(configs: Readonly<Record<string, SinkConfig>>): SinkOptions[] {
  return Object.entries(configs).map(([name, config]) => ({ ...split(config).carried, sink: createSink(name, config) }))
}

interface Split {
  readonly kind: SinkConfig['kind']
  readonly carried: Omit<SinkOptions, 'sink'>
  readonly concurrency: number | undefined
  readonly ownOptions: Omit<WebhookOptions, 'name'>
}

/** What the relay has to know of a sink, and what the sink itself. */
function split(config: SinkConfig): Split {
  const { kind, types, lanes, concurrency, ordering, onDead, retry, audit, startFrom, ...ownOptions } = config
  const all = { types, lanes, concurrency, ordering, onDead, retry, audit, startFrom }
  return { kind, carried: given(all), concurrency, ownOptions }
}

type Given<T> = { [Name in keyof T]?: Exclude<T[Name], undefined> }

/** Only what is there: an absent option is not the same as one that is undefined. */
function given<T extends object>(options: T): Given<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Given<T>
}
