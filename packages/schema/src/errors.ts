/**
 * Every error code of Postrider, with its meaning and the next step.
 * One word in four places: the exception's `code`, the log field, the metric label, and `attempts.error_code`.
 */
export const errorCodes = {
  // write
  not_in_transaction: {
    meaning: 'The handle given to emit or once is a pool or a root handle, so what they write would commit on its own.',
    next: 'Pass the transaction (Kysely trx, a pg client after BEGIN) in which the business rows are written.',
  },
  unknown_type: {
    meaning: 'The event type is not in the catalogue given to createWriter.',
    next: 'Add the type to `events`, or mend the spelling.',
  },
  invalid_event: {
    meaning: 'An attribute of the event (type, id, key, header, time, …) breaks its rule.',
    next: 'Read the path and the rule in the message and mend that attribute.',
  },
  invalid_payload: {
    meaning: 'The payload does not satisfy the schema of its type, or JSON in PostgreSQL cannot hold it.',
    next: 'Mend the value at the path in the message.',
  },
  payload_too_large: {
    meaning: 'The payload is over the limit.',
    next: 'Store the document elsewhere and send a reference to it, or send a thin event.',
  },
  // configure and start
  invalid_options: {
    meaning: 'Options or configuration are not valid.',
    next: 'Mend every problem that the message lists.',
  },
  schema_missing: {
    meaning: 'The schema of Postrider is missing or older than this program needs.',
    next: 'Run `postrider migrate up`.',
  },
  schema_changed: {
    meaning: 'A migration that was applied differs from the file of the same name.',
    next: 'Restore the file as it was released; write changes as a new migration.',
  },
  migration_locked: {
    meaning: 'A lock that the migration needs was not free within its deadline.',
    next: 'Run the migration again when the blocking session has ended.',
  },
  cluster_changed: {
    meaning: 'The database is a restored copy, and the relay is told to refuse one (`relay.onRestore`).',
    next: 'Leave it alone if it must not send; else set `onRestore` to `anchor`, and the relay goes on from what it knows.',
  },
  sequence_cache: {
    meaning: 'The sequence of positions has a cache above 1, so positions do not follow the order of inserts.',
    next: 'Run `alter sequence … cache 1` on the sequence that the message names.',
  },
  // run
  database_unavailable: {
    meaning: 'The database cannot be reached, or answers as a standby.',
    next: 'Look at the server and the connection settings; a relay that runs keeps trying.',
  },
  stale_fence: {
    meaning: 'The lane has another owner: nothing of this settle was written.',
    next: 'None; the new owner carries on from the last settled page.',
  },
  not_found: {
    meaning: 'Nothing matches what was asked for.',
    next: 'Look at `postrider status` and the views of the schema for what exists.',
  },
  // consume
  missing_signature: {
    meaning: 'The request lacks one of webhook-id, webhook-timestamp and webhook-signature.',
    next: 'Look who sends it; if a proxy stands between, let it pass these headers on.',
  },
  malformed_request: {
    meaning: 'The id, the timestamp or the list of signatures of the request breaks its form.',
    next: 'Read the message and mend the sender.',
  },
  stale_request: {
    meaning: 'The timestamp of the request is further off than the tolerance: an old recording, or a clock that is wrong.',
    next: 'Compare the clocks of both sides with NTP.',
  },
  wrong_signature: {
    meaning: 'None of the signatures is of these bytes by one of the secrets.',
    next: 'Compare the secrets of both sides, and give verify the body as it came, before any parser.',
  },
  body_too_large: {
    meaning: 'The body of the request is over the limit of the consumer.',
    next: 'Raise `maxBodyBytes`, then retry the dead letter; or send thinner events.',
  },
  body_parsed: {
    meaning: 'The body was read before the consumer saw it, so its bytes are gone and no signature can be checked.',
    next: 'Put the route of the consumer before body parsers, such as express.json(), or keep them off this route.',
  },
  body_incomplete: {
    meaning: 'The body of the request did not come in time, or broke off.',
    next: 'The sender tries again; look at the network between.',
  },
  malformed_event: {
    meaning: 'A request or record does not hold an event that can be read.',
    next: 'Read the message and mend the sender, or the profile in which it sends.',
  },
  event_busy: {
    meaning: 'Another transaction works on the same event, and did not end within the lock timeout.',
    next: 'None; the event comes again, and is then found done or is taken.',
  },
  handler_failed: {
    meaning: 'The handler of a consumer threw; its transaction was rolled back, so the event has had no effect.',
    next: 'Look at the cause, which `onFailure` gets; the event comes again.',
  },
  handler_timeout: {
    meaning: 'The handler of a consumer did not end in time; its transaction was rolled back.',
    next: 'Do less in the handler: store what is to be done, and do it later.',
  },
  rolled_back: {
    meaning: 'The handler ended well, but the transaction could not be committed, because a statement in it had failed.',
    next: 'Let errors of statements reach the consumer, or roll back to a savepoint before you go on.',
  },
  inbox_missing: {
    meaning: 'The table of the inbox is not in this database.',
    next: 'Create it: `createInbox(client)`, or a migration with the SQL of `inboxTable()`.',
  },
  // operate
  invalid_filter: {
    meaning: 'The filter of an operation is none, or nothing can be done by it.',
    next: 'Mend what the message names, or choose the events by something else.',
  },
  invalid_endpoint: {
    meaning: 'An endpoint cannot be as it was given: its name, address, secrets, headers, types or tenant break a rule.',
    next: 'Mend what the message names; nothing was written.',
  },
  sink_in_use: {
    meaning: 'A sink cannot be removed as things are.',
    next: 'Do first what the message names; nothing was changed.',
  },
  too_many_pings: {
    meaning: 'Endpoints at this host, or of this sink, were pinged too often within a minute.',
    next: 'Wait a minute, then do it again.',
  },
  no_consent: {
    meaning: 'The destination was asked whether it wants events (the handshake of CloudEvents), and did not say so.',
    next: 'Let it answer OPTIONS with 2xx and `WebHook-Allowed-Origin`, or verify the endpoint by a ping.',
  },
  cutover_refused: {
    meaning: 'A consumer cannot be moved to another sink, or back, as things are.',
    next: 'Mend what the message names; nothing was changed.',
  },
  not_confirmed: {
    meaning: 'A command that changes something was not confirmed.',
    next: 'Run it again on a terminal and answer yes, or give --yes.',
  },
  // deliver
  timeout: {
    meaning: 'The destination did not answer within the total deadline.',
    next: 'It is retried. Answer sooner: store the event, answer 2xx, work later.',
  },
  dns: {
    meaning: 'The host name could not be resolved.',
    next: 'It is retried. Look at the host name and at the resolver.',
  },
  connect: {
    meaning: 'No connection, or it broke before an answer.',
    next: 'It is retried. Look at the destination and the network between.',
  },
  tls: {
    meaning: 'The TLS handshake failed, or the certificate is not trusted.',
    next: 'It is retried. Mend the certificate, or give its authority as `ca`.',
  },
  redirect: {
    meaning: 'The destination answered 3xx; redirects are never followed.',
    next: 'It is retried. Put the new address into the configuration.',
  },
  throttled: {
    meaning: 'The destination asked for a pause (429, or 503 with Retry-After).',
    next: 'The sink pauses; the event goes out afterwards and no attempt is spent.',
  },
  status_4xx: {
    meaning: 'The destination answered with a 4xx status that may heal.',
    next: 'It is retried on schedule. Look at the captured response.',
  },
  status_5xx: {
    meaning: 'The destination answered with a 5xx status.',
    next: 'It is retried on schedule.',
  },
  payload_refused: {
    meaning: 'The destination refused these bytes for good (413, 415, 431, or `postrider-retry: never`).',
    next: 'Mend the destination, then retry the dead letter.',
  },
  gone: {
    meaning: 'The destination answered 410: it wants nothing any more.',
    next: 'It is asked once more after five minutes; then the sink is gone. Mend the destination, then `postrider resume`.',
  },
  blocked_target: {
    meaning: 'The address of the destination is not one that this sink may reach.',
    next: 'Mend the address, or declare the sink `trust: internal` with the network it needs.',
  },
  loop: {
    meaning: 'Webhooks led to webhooks, over the limit of hops: the event goes round in a circle.',
    next: 'Break the circle, or raise `maxHops` of the sink; then retry the dead letter.',
  },
  malformed_response: {
    meaning: 'The answer of the destination is not HTTP, or its headers are over the limit.',
    next: 'It is retried. Look at the destination.',
  },
  cannot_encode: {
    meaning: 'This event cannot be expressed in the format of the sink.',
    next: 'Choose another format for the sink, then retry the dead letter.',
  },
  record_too_large: {
    meaning: 'The record is over the limit of its topic.',
    next: 'Raise `max.message.bytes` of the topic, or send a thin event; then retry the dead letter.',
  },
  topic_unavailable: {
    meaning: 'The topic does not exist, or this client may not write to it.',
    next: 'Create the topic or grant the right; its events wait meanwhile, those of other topics go on.',
  },
  partition_unavailable: {
    meaning: 'The partition has no leader, too few replicas in sync, or did not confirm the write in time.',
    next: 'None as a rule: its events wait and go out when the partition is back. Look at the brokers when it lasts.',
  },
  repartitioned: {
    meaning: 'The number of partitions of a topic has changed, so keys would move to other partitions.',
    next: 'Let consumers finish what they have, then accept the new number; events of the topic wait until then.',
  },
  authentication: {
    meaning: 'The destination refused the credentials.',
    next: 'Mend the credentials; nothing is lost meanwhile.',
  },
  client_missing: {
    meaning: 'The Kafka client that the options name is not installed, or its version is not one that is known.',
    next: 'Install the version that the message names.',
  },
  group_not_empty: {
    meaning: 'The consumer group has members, so its offsets cannot be set.',
    next: 'Stop its consumers, then do it again.',
  },
  broker_refused: {
    meaning: 'A Kafka broker refused a request.',
    next: 'Look up the protocol error that the message names.',
  },
  event_missing: {
    meaning: 'The event is not in the log any more: the database was restored without it.',
    next: 'Discard the dead letter, or restore the event and retry it.',
  },
  sink_threw: {
    meaning: 'The sink threw instead of answering; this counts as a failed attempt.',
    next: 'It is retried. Report the fault to the author of the sink.',
  },
  poison: {
    meaning: 'Relays died, one after the other, while they carried this event and nothing else.',
    next: 'Look at its payload and at the sink, mend what kills the relay, then retry the dead letter.',
  },
  slow: {
    meaning: 'The attempt outlasted its page and was parked, so that the others go on.',
    next: 'None; its result is written when the attempt ends.',
  },
  interrupted: {
    meaning: 'The relay stopped before the attempt ended; it does not count.',
    next: 'None; the event goes out again with the same id.',
  },
} as const

export type ErrorCode = keyof typeof errorCodes

/** Where and what, for the reader of an error: any of these may be missing. */
export interface ErrorDetails {
  /** Index of the event in the call, from 0. */
  readonly index?: number
  /** Event type. */
  readonly type?: string
  /** Event id. */
  readonly id?: string
  /** Where in the event, as `payload.items[2].price`. */
  readonly path?: string
  /** The limit that was passed, in the unit that the message names. */
  readonly limit?: number
  /** What came instead. */
  readonly actual?: number | string
  /** All problems, when there are several. */
  readonly problems?: readonly string[]
}

/** The one error class that Postrider throws: what went wrong, where, and what to do next. */
export class PostriderError extends Error {
  override readonly name = 'PostriderError'
  readonly code: ErrorCode
  /** What to do about it, in one sentence. */
  readonly next: string
  readonly details: ErrorDetails

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, options?: ErrorOptions) {
    super(message, options)
    this.code = code
    this.next = errorCodes[code].next
    this.details = details
  }
}

/** True for errors of Postrider, also across two copies of this package. */
export function isPostriderError(error: unknown): error is PostriderError {
  return error instanceof Error && error.name === 'PostriderError' && 'code' in error && String(error.code) in errorCodes
}
