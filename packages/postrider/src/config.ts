import type { KafkaOptions, KafkaSasl } from '@postrider/kafka'
import type { RelayOptions, SinkOptions } from '@postrider/relay'
import type { WebhookEndpointsOptions, WebhookOptions } from '@postrider/webhook'

/**
 * What `postrider.config.ts`, `.yaml` or `.json` holds.
 *
 * Any text may refer to a secret instead of holding it, in all three forms alike: `${env:NAME}` is the environment
 * variable, `${file:/path}` the text of a file without the line break at its end (a relative path starts at the
 * configuration), `$${` a plain `${`. In TypeScript this is an ordinary string in single quotes; it is filled in when the
 * program starts. A signing secret that stands here itself (`whsec_…`, `whsk_…`) is refused.
 */
export interface Config {
  readonly database?: DatabaseConfig
  /** Name of the PostgreSQL schema. Default `postrider`; `POSTRIDER_SCHEMA` overrides it. */
  readonly schema?: string
  readonly relay?: RelayConfig
  /** Name of the sink → where it sends, and how its stream is carried. */
  readonly sinks?: Readonly<Record<string, SinkConfig>>
  readonly log?: {
    /** Default `info`; `debug` adds a line for every delivered event. `POSTRIDER_LOG_LEVEL` overrides it. */
    readonly level?: LogLevel
  }
  /** Where the probes answer, or `false` for no port at all. */
  readonly health?: HealthConfig | false
}

export interface DatabaseConfig {
  /** `postgres://user:password@host:port/database`. `POSTRIDER_DATABASE_URL` or `POSTRIDER_DATABASE_URL_FILE` override it. */
  readonly url?: string
  /**
   * Round a transaction pooler: for LISTEN and for migrations. `false`: there is none, the relay polls.
   * Default: the same as `url`. `POSTRIDER_DIRECT_DATABASE_URL` or `POSTRIDER_DIRECT_DATABASE_URL_FILE` override it.
   */
  readonly directUrl?: string | false
  /** Connections in the relay's pool, 2 to 100. Default 8. */
  readonly connections?: number
}

export interface RelayConfig extends Pick<
  RelayOptions,
  'name' | 'leaseMs' | 'pollMs' | 'pageSize' | 'pageMs' | 'slowMs' | 'drainMs' | 'onRestore'
> {}

export interface HealthConfig {
  /** Default `127.0.0.1`. In a container: `0.0.0.0`. */
  readonly host?: string
  /** Default 4480; 0 takes any free port. */
  readonly port?: number
}

/** A sink of the configuration; `kind` says which. */
export type SinkConfig = WebhookConfig | WebhookEndpointsConfig | KafkaConfig

export interface WebhookConfig extends Omit<SinkOptions, 'sink'>, Omit<WebhookOptions, 'name'> {
  readonly kind: 'webhook'
  readonly endpoints?: never
}

/**
 * A sink with many destinations, which are added, changed and removed while it runs (`postrider endpoints`). What stands
 * here is what they have in common; each has an address, secrets and filters of its own.
 */
export interface WebhookEndpointsConfig
  extends
    Omit<SinkOptions, 'sink' | 'types' | 'startFrom'>,
    Omit<WebhookEndpointsOptions, 'name' | 'secretKey' | 'previousKeys'> {
  readonly kind: 'webhook'
  readonly endpoints: {
    /** Seals what is stored about them: base64 of 32 bytes, as a reference. Without it secrets of endpoints are references only. */
    readonly secretKey?: string
    /** Former keys, until `postrider endpoints reseal` has sealed everything anew. */
    readonly previousKeys?: readonly string[]
  }
  readonly url?: never
  readonly secrets?: never
  readonly types?: never
  readonly startFrom?: never
}

/** A Kafka cluster: every event becomes a record of a topic. */
export interface KafkaConfig extends Omit<SinkOptions, 'sink'>, Omit<KafkaOptions, 'name' | 'warn' | 'onPartitions' | 'sasl'> {
  readonly kind: 'kafka'
  /**
   * `shadow` is a label that stands in `postrider status` and `postrider doctor`: nobody depends on this sink yet. It is carried
   * as any other. Default `live`.
   */
  readonly mode?: 'shadow' | 'live'
  readonly sasl?: Omit<KafkaSasl, 'password'> & {
    /** As a reference: `${env:NAME}` or `${file:/path}`. */
    readonly password: string
  }
  readonly endpoints?: never
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent'

/** The configuration checked, with every default of the program and of the relay in its place; frozen. */
export interface Settings {
  readonly database: Required<DatabaseConfig>
  readonly schema: string
  readonly relay: Required<RelayConfig>
  readonly sinks: Readonly<Record<string, SinkConfig>>
  readonly log: { readonly level: LogLevel }
  readonly health: Required<HealthConfig> | false
}

/** Gives `postrider.config.ts` its types: `export default defineConfig({ … })`. */
export function defineConfig(config: Config): Config {
  return config
}
