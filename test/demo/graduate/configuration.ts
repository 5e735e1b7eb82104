/** The names that the commands use too. */
export const webhookSink = 'billing'
export const kafkaSink = 'main-kafka'
export const topic = 'order'

export interface Places {
  readonly databaseUrl: string
  readonly webhookUrl: string
  /** File, beside the configuration. */
  readonly secretFile: string
  /** Absent: there is no Kafka yet. */
  readonly brokers?: readonly string[]
}

/** The text of postrider.config.yaml. Kafka is six lines more, and nothing else changes. */
export function configuration({ databaseUrl, webhookUrl, secretFile, brokers }: Places): string {
  const text = `
database: { url: '${databaseUrl}' }
health: false
log: { level: warn }
sinks:
  ${webhookSink}:
    kind: webhook
    url: ${webhookUrl}
    trust: internal
    allow: [127.0.0.1]
    secrets: { current: '\${file:${secretFile}}' }
`
  if (brokers === undefined) return text
  return `${text}
  ${kafkaSink}:
    kind: kafka
    mode: shadow
    brokers: [${brokers.map((broker) => `'${broker}'`).join(', ')}]
    startFrom: beginning
`
}
