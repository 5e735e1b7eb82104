import type { KafkaConnectionOptions, KafkaDriverOptions, KafkaProfile } from '@postrider/kafka'
import { PostriderError } from '@postrider/schema'
import type { KafkaConfig, Settings } from '../config.ts'
import { loadKafkaSinks, type ConfigFlags } from '../config/load.ts'

/** A Kafka sink of the configuration. */
export interface KafkaTarget {
  readonly name: string
  readonly config: KafkaConfig
  readonly connection: KafkaConnectionOptions
  readonly driver: KafkaDriverOptions
  readonly profile: KafkaProfile
}

export interface KafkaTargets {
  readonly settings: Pick<Settings, 'database' | 'schema'>
  /** By name. */
  readonly targets: ReadonlyMap<string, KafkaTarget>
}

/** Every Kafka sink of the configuration; there may be none. */
export async function loadTargets(flags: ConfigFlags): Promise<KafkaTargets> {
  const { settings } = await loadKafkaSinks(flags)
  const targets = Object.entries(settings.sinks).flatMap(([name, config]) =>
    config.kind === 'kafka' ? [[name, targetOf(name, config)] as const] : [],
  )
  return { settings, targets: new Map(targets) }
}

/**
 * The sink of this name, or the only one there is.
 * @throws PostriderError `invalid_options`
 */
export function chooseTarget(targets: ReadonlyMap<string, KafkaTarget>, name: string | undefined): KafkaTarget {
  const found = name === undefined ? [...targets.values()] : [targets.get(name) ?? []].flat()
  const [target] = found
  if (target !== undefined && found.length === 1) return target
  const there = [...targets.keys()].join(', ')
  const problem =
    targets.size === 0
      ? 'sinks: there is none of the kind kafka in the configuration'
      : name === undefined
        ? `there are several Kafka sinks: say which (${there})`
        : `sinks.${name}: is no Kafka sink of the configuration; there are ${there}`
  throw new PostriderError('invalid_options', problem, { problems: [problem] })
}

function targetOf(name: string, config: KafkaConfig): KafkaTarget {
  const { brokers, client, clientId, tls, sasl, timeouts, compression, idempotent, profile = 'cloudevents' } = config
  const connection: KafkaConnectionOptions = {
    brokers,
    ...(client !== undefined && { client }),
    ...(clientId !== undefined && { clientId }),
    ...(tls !== undefined && { tls }),
    ...(sasl !== undefined && { sasl }),
    ...(timeouts !== undefined && { timeouts }),
  }
  const driver: KafkaDriverOptions = {
    ...connection,
    ...(compression !== undefined && { compression }),
    ...(idempotent !== undefined && { idempotent }),
  }
  return { name, config, connection, driver, profile }
}
