import { PostriderError } from '@postrider/schema'
import type { Settings } from '../config.ts'
import type { KafkaTarget } from '../kafka/target.ts'

export interface DebeziumConfig {
  readonly connector: { readonly name: string; readonly config: Readonly<Record<string, string>> }
  /** What the database needs first. */
  readonly statements: readonly string[]
  /** In this order nothing is left out: what comes twice has the same id. */
  readonly steps: readonly string[]
  readonly differences: readonly string[]
}

const slot = 'postrider_debezium'

/** Columns as headers; the router itself puts the id into the header `id`. */
const placements = {
  cloudevents:
    'type:header:ce_type,source:header:ce_source,subject:header:ce_subject,content_type:header:content-type,position:header:postrider-position',
  debezium: 'type:header:eventType,content_type:header:content-type,position:header:postrider-position',
} as const satisfies Record<KafkaTarget['profile'], string>

/**
 * A connector for PostgreSQL with the outbox event router, for the table and the topics of a Kafka sink. The log is insert-only and
 * its segments are published as one table, so no column has to change.
 * @throws PostriderError `invalid_options` when the topics of the sink cannot be made by the router
 */
export function debeziumConfig(
  { name, config, profile }: KafkaTarget,
  { database, schema }: Pick<Settings, 'database' | 'schema'>,
): DebeziumConfig {
  const { topic = '{type.0}', prefix = profile === 'debezium' ? 'outbox.event' : '' } = config
  const found = /^([^{}]*)\{type(?:\.0)?\}([^{}]*)$/.exec(topic)
  if (found === null) {
    const problem = `sinks.${name}.topic: the router makes a topic of one column; this takes a template with {type} or {type.0} alone`
    throw new PostriderError('invalid_options', problem, { problems: [problem] })
  }
  const [, before = '', after = ''] = found
  const url = new URL(database.url)
  const types = config.types ?? null
  return {
    connector: {
      name: `postrider-${name}`,
      config: {
        'connector.class': 'io.debezium.connector.postgresql.PostgresConnector',
        'database.hostname': url.hostname,
        'database.port': url.port === '' ? '5432' : url.port,
        'database.user': '<a role with REPLICATION and SELECT on the table>',
        'database.password': '<by a config provider>',
        'database.dbname': decodeURIComponent(url.pathname.slice(1)),
        'topic.prefix': 'postrider',
        'plugin.name': 'pgoutput',
        'slot.name': slot,
        'publication.name': slot,
        'publication.autocreate.mode': 'disabled',
        'snapshot.mode': 'no_data',
        'table.include.list': `${schema}.events`,
        'tombstones.on.delete': 'false',
        'key.converter': 'org.apache.kafka.connect.storage.StringConverter',
        'value.converter': 'org.apache.kafka.connect.storage.StringConverter',
        transforms: 'outbox',
        'transforms.outbox.type': 'io.debezium.transforms.outbox.EventRouter',
        'transforms.outbox.table.field.event.id': 'id',
        'transforms.outbox.table.field.event.key': 'key',
        'transforms.outbox.table.field.event.payload': 'payload',
        'transforms.outbox.route.by.field': 'type',
        'transforms.outbox.route.topic.regex': topic.includes('{type.0}') ? '(?<routedByValue>[^.]+).*' : '(?<routedByValue>.*)',
        'transforms.outbox.route.topic.replacement': `${prefix === '' ? '' : `${prefix}.`}${before}\${routedByValue}${after}`,
        'transforms.outbox.table.fields.additional.placement': placements[profile],
        'transforms.outbox.table.op.invalid.behavior': 'warn',
      },
    },
    statements: [
      `create publication ${slot} for table ${schema}.events with (publish = 'insert', publish_via_partition_root = true);`,
      `select pg_create_logical_replication_slot('${slot}', 'pgoutput');`,
    ],
    steps: [
      'Run the statements. From here on the slot keeps what is committed, so watch the disk until the connector runs.',
      `postrider status --watch, until ${name} has delivered all that was committed before; then: postrider pause ${name} --reason debezium`,
      `Start the connector. What was committed between both comes twice, with the same id: consumers drop it.`,
      `When it has come up, take ${name} out of the configuration.`,
    ],
    differences: [
      ...(profile === 'cloudevents' ? ['the id of an event is the header `id`, and not `ce_id`'] : []),
      'there is no `ce_specversion`, no `ce_time` and no header of the producer: the columns `headers` and `time` need a transform of your own',
      'payloads in bytes stand in the column `payload_bytes`, which the router does not see',
      'scheduled events (deliver_at) go out when they are committed, and expired ones too',
      ...(types === null ? [] : [`all types go out, and not only ${types.join(', ')}: add a filter`]),
      'nothing is retried, parked, audited or replayed for this destination any more',
    ],
  }
}
