export interface KafkaOptions {
  /** Brokers, each a controller too. With 3, topics have 3 replicas, of which 2 must be in sync. Default 1. */
  readonly brokers?: 1 | 3
  /** Server properties, over those for tests. */
  readonly properties?: Readonly<Record<string, string | number | boolean>>
  /** Clients must log in, as `admin` or as one of `users`. Default: nobody is asked. */
  readonly sasl?: 'plain' | 'scram-sha-256' | 'scram-sha-512'
  /** More users, by name, with their passwords. */
  readonly users?: Readonly<Record<string, string>>
  /** The port of the clients speaks TLS, with a certificate of its own. Default false. */
  readonly tls?: boolean
  /** Everybody but `admin` needs an ACL for what they do. Needs `sasl`. Default false. */
  readonly authorizer?: boolean
  /** Deadline for the first answer, in milliseconds, without the time to fetch the jars. Default 60,000. */
  readonly startTimeoutMs?: number
}

export interface KafkaUser {
  readonly username: string
  readonly password: string
}

/** Fails for what cannot be had. */
export function checkOptions({ authorizer, sasl, users = {} }: KafkaOptions): void {
  if (authorizer && sasl === undefined) throw new TypeError('authorizer needs sasl: without it everybody is the same user')
  if (sasl === undefined && Object.keys(users).length > 0) throw new TypeError('users need sasl')
  for (const [name, password] of Object.entries(users)) {
    if (!/^\w+$/.test(name + password)) throw new TypeError(`user ${name}: letters, digits and _ only`)
  }
}
