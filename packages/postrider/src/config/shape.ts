import { hostname } from 'node:os'
import { typeFilterPattern } from '@postrider/schema'
import { z } from 'zod'
import type { Settings, SinkConfig } from '../config.ts'
import { isPlainObject } from './path.ts'

// The form of a configuration. Ranges and defaults of the relay stand here too, so that every problem is found at once.

const name = /^[a-z0-9][a-z0-9_-]{0,62}$/
const whole = (least: number, most: number): z.ZodInt => z.int().min(least).max(most)
const postgresUrl = z.string().refine((text) => /^(?:postgres|postgresql|socket):/.test(text) && URL.canParse(text), {
  error: 'expected postgres://user:password@host:port/database',
})

const sealKey = z
  .string()
  .regex(/^[A-Za-z0-9+/]{43}=$/, { error: 'expected base64 of 32 bytes, as `openssl rand -base64 32` prints' })

/** How a stream is carried, whatever the destination. */
const carried = {
  types: z
    .array(
      z.string().regex(typeFilterPattern, { error: 'expected segments joined by dots, * for any one, ** (last) for the rest' }),
    )
    .min(1, { error: 'an empty list would take nothing; leave it out to take all' })
    .exactOptional(),
  lanes: whole(1, 64).exactOptional(),
  rate: z.number().positive({ error: 'expected a number above 0' }).exactOptional(),
  circuit: z
    .union(
      [
        z.literal(false),
        z.strictObject({ failures: whole(1, 1_000), openMs: whole(1, 86_400_000), mostMs: whole(1, 86_400_000) }),
      ],
      {
        error: 'expected { failures, openMs, mostMs }, or false',
      },
    )
    .exactOptional(),
  ordering: z.enum(['key', 'none']).default('key'),
  onDead: z.enum(['block', 'park', 'skip']).default('block'),
  retry: z
    .union(
      [
        z.enum(['fast', 'standard', 'patient']),
        z.strictObject({ delaysMs: z.array(z.number().min(0)), jitter: z.number().min(0).max(1), maxAgeMs: z.number().min(1) }),
      ],
      { error: 'expected fast, standard or patient, or a policy { delaysMs, jitter, maxAgeMs }' },
    )
    .default('standard'),
  audit: z.enum(['all', 'failures', 'none']).default('all'),
  startFrom: z.enum(['beginning', 'now']).exactOptional(),
}

/** One destination, or with `endpoints` many: which of the keys belong to which is checked below. */
const webhookKeys = z.strictObject({
  kind: z.literal('webhook'),
  url: z.string().exactOptional(),
  secrets: z
    .strictObject({
      current: z.union([z.string(), z.array(z.string())], { error: 'expected a secret or a list of secrets' }),
      previous: z
        .array(
          z.strictObject({
            secret: z.string(),
            until: z.union([z.date(), z.string()], { error: 'expected an ISO 8601 time with its zone' }),
          }),
        )
        .exactOptional(),
    })
    .exactOptional(),
  endpoints: z
    .strictObject({ secretKey: sealKey.exactOptional(), previousKeys: z.array(sealKey).exactOptional() })
    .refine(({ secretKey, previousKeys = [] }) => secretKey !== undefined || previousKeys.length === 0, {
      path: ['secretKey'],
      error: 'is missing; previousKeys only open what they have sealed',
    })
    .exactOptional(),
  format: z.enum(['standard', 'cloudevents', 'cloudevents-binary', 'raw']).exactOptional(),
  headers: z.record(z.string(), z.string()).exactOptional(),
  trust: z.enum(['external', 'internal']).exactOptional(),
  allow: z.array(z.string()).exactOptional(),
  deny: z.array(z.string()).exactOptional(),
  ports: z.array(z.number()).exactOptional(),
  timeouts: z
    .strictObject({
      totalMs: z.number().exactOptional(),
      connectMs: z.number().exactOptional(),
      dnsMs: z.number().exactOptional(),
      firstByteMs: z.number().exactOptional(),
    })
    .exactOptional(),
  connections: z.number().exactOptional(),
  tls: z
    .strictObject({
      ca: z.union([z.string(), z.array(z.string())], { error: 'expected PEM, or a list of it' }).exactOptional(),
      cert: z.string().exactOptional(),
      key: z.string().exactOptional(),
    })
    .exactOptional(),
  capture: z.enum(['none', 'failures', 'all']).exactOptional(),
  permanentStatuses: z.array(z.number()).exactOptional(),
  maxHops: z.number().exactOptional(),
  userAgent: z.string().exactOptional(),
  requestOrigin: z.string().exactOptional(),
  dnsServers: z.array(z.string()).exactOptional(),
  ...carried,
  // One connection for every slot, and the sink takes 256 at most.
  concurrency: whole(1, 256).exactOptional(),
})

type WebhookKeys = z.output<typeof webhookKeys>

const hasEndpoints = (value: unknown): boolean => isPlainObject(value) && value['endpoints'] !== undefined

/** Refuses, also beside other problems, a key that one destination must have; or one that many cannot have in common. */
function ofOne(
  schema: typeof webhookKeys,
  key: 'url' | 'secrets' | 'types' | 'startFrom',
  required: boolean,
): typeof webhookKeys {
  const when = ({ value }: { readonly value: unknown }): boolean => isPlainObject(value)
  const many = schema.refine((value) => !hasEndpoints(value) || value[key] === undefined, {
    path: [key],
    error: 'is for each endpoint to say; take it out here',
    when,
  })
  return required
    ? many.refine((value) => hasEndpoints(value) || value[key] !== undefined, { path: [key], error: 'is missing', when })
    : many
}

function withDefaults(value: WebhookKeys): WebhookKeys {
  return hasEndpoints(value)
    ? { lanes: 1, concurrency: 8, ...value }
    : { lanes: 4, concurrency: 32, startFrom: 'beginning', ...value }
}

const webhook = ofOne(
  ofOne(ofOne(ofOne(webhookKeys, 'url', true), 'secrets', true), 'types', false),
  'startFrom',
  false,
).overwrite(withDefaults)

/** Its numbers and texts are judged by the sink itself. */
const kafka = z.strictObject({
  kind: z.literal('kafka'),
  mode: z.enum(['shadow', 'live']).default('live'),
  brokers: z.array(z.string()),
  client: z.enum(['kafkajs', 'platformatic']).exactOptional(),
  clientId: z.string().exactOptional(),
  tls: z
    .union(
      [
        z.boolean(),
        z.strictObject({
          ca: z.union([z.string(), z.array(z.string())], { error: 'expected PEM, or a list of it' }).exactOptional(),
          cert: z.string().exactOptional(),
          key: z.string().exactOptional(),
          dangerouslyAcceptAnyCertificate: z.boolean().exactOptional(),
        }),
      ],
      { error: 'expected true, false or { ca, cert, key }' },
    )
    .exactOptional(),
  sasl: z
    .strictObject({
      mechanism: z.enum(['plain', 'scram-sha-256', 'scram-sha-512']),
      username: z.string(),
      password: z.string(),
    })
    .exactOptional(),
  timeouts: z
    .strictObject({
      connectMs: z.number().exactOptional(),
      requestMs: z.number().exactOptional(),
      deadlineMs: z.number().exactOptional(),
    })
    .exactOptional(),
  compression: z.enum(['none', 'gzip', 'zstd']).exactOptional(),
  idempotent: z.boolean().exactOptional(),
  topic: z.string().exactOptional(),
  prefix: z.string().exactOptional(),
  profile: z.enum(['cloudevents', 'debezium']).exactOptional(),
  source: z.string().exactOptional(),
  batch: z.strictObject({ records: z.number().exactOptional(), bytes: z.number().exactOptional() }).exactOptional(),
  lingerMs: z.number().exactOptional(),
  exactlyOnce: z
    .union([z.boolean(), z.strictObject({ lookBack: z.number().exactOptional() })], {
      error: 'expected true, false or { lookBack }',
    })
    .exactOptional(),
  partitionCounts: z.record(z.string(), z.number()).exactOptional(),
  ...carried,
  lanes: carried.lanes.default(4),
  // They wait for their batches, which costs memory and no connection.
  concurrency: whole(1, 10_000).default(2_000),
  startFrom: carried.startFrom.default('beginning'),
})

/** One sink. What its type says about the keys of one and of many, the checks above have seen to. */
export const sinkShape: z.ZodType<SinkConfig> = z.discriminatedUnion('kind', [webhook, kafka]) as unknown as z.ZodType<SinkConfig>

const database: z.ZodType<Settings['database']> = z
  .strictObject({
    url: postgresUrl,
    directUrl: z.union([z.literal(false), postgresUrl], { error: 'expected postgres://…, or false' }).exactOptional(),
    connections: whole(2, 100).default(8),
  })
  .prefault({} as { url: string })
  .transform(({ url, directUrl = url, connections }) => ({ url, directUrl, connections }))

const schema = z
  .string()
  .regex(/^[a-z_][a-z0-9_]{0,40}$/, { error: 'expected a plain lower-case identifier of at most 41 letters, digits and _' })
  .default('postrider')

const health: z.ZodType<Settings['health']> = z
  .union(
    [z.literal(false), z.strictObject({ host: z.string().min(1).default('127.0.0.1'), port: whole(0, 65_535).default(4480) })],
    {
      error: 'expected { host, port }, or false',
    },
  )
  .prefault({})

/** Everything: what `postrider start` needs. */
export const configShape: z.ZodType<Settings> = z.strictObject({
  database,
  schema,
  relay: z
    .strictObject({
      name: z
        .string()
        .min(1)
        .max(128)
        .default(() => `${hostname()}:${process.pid}`),
      leaseMs: whole(1_000, 300_000).default(10_000),
      pollMs: whole(50, 60_000).default(1_000),
      pageSize: whole(1, 10_000).default(500),
      pageMs: whole(10, 60_000).default(1_000),
      slowMs: whole(10, 60_000).default(1_000),
      drainMs: whole(0, 600_000).default(25_000),
      onRestore: z.enum(['anchor', 'refuse']).default('anchor'),
    })
    .prefault({}),
  sinks: z
    .record(z.string().regex(name, { error: 'expected lower-case letters, digits, _ and - as the name of a sink' }), sinkShape)
    .refine((sinks) => Object.keys(sinks).length > 0, { error: 'expected at least one sink' }),
  log: z.strictObject({ level: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info') }).prefault({}),
  health,
})

/** What a command needs that only talks to the database. */
export const databaseShape: z.ZodType<Pick<Settings, 'database' | 'schema'>> = z.object({
  database,
  schema,
})

/** What a command needs that has to do with one sink, or some. */
export const someSinksShape: z.ZodType<Pick<Settings, 'database' | 'schema' | 'sinks' | 'health'>> = z.object({
  database,
  schema,
  health,
  sinks: z.record(z.string(), sinkShape).prefault({}),
})

/** What `postrider health` needs. */
export const healthShape: z.ZodType<Pick<Settings, 'health'>> = z.object({ health })
