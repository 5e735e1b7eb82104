import { PostriderError, type ErrorCode } from '@postrider/schema'
import type { AppendFailure } from './driver.ts'
import { WireError, type WireTrouble } from './wire.ts'

/** A failure as its cause tells it, before anything is known of the tries before it. */
export interface Cause extends AppendFailure {
  /** The broker knows nothing of this producer, or not what we think: a new one is needed. */
  readonly renew: boolean
}

type Row = readonly [
  name: string,
  written: AppendFailure['written'],
  retry: AppendFailure['retry'],
  scope: AppendFailure['scope'],
  renew?: 'renew',
]

/** Codes of the protocol: https://kafka.apache.org/protocol#protocol_error_codes */
const table: Readonly<Record<number, Row>> = {
  [-1]: ['UNKNOWN_SERVER_ERROR', 'unknown', 'backoff', 'partition'],
  1: ['OFFSET_OUT_OF_RANGE', 'no', 'backoff', 'partition'],
  2: ['CORRUPT_MESSAGE', 'no', 'never', 'record'],
  3: ['UNKNOWN_TOPIC_OR_PARTITION', 'no', 'now', 'topic'],
  5: ['LEADER_NOT_AVAILABLE', 'no', 'now', 'partition'],
  6: ['NOT_LEADER_OR_FOLLOWER', 'no', 'now', 'partition'],
  7: ['REQUEST_TIMED_OUT', 'unknown', 'now', 'partition'],
  8: ['BROKER_NOT_AVAILABLE', 'no', 'now', 'partition'],
  9: ['REPLICA_NOT_AVAILABLE', 'no', 'now', 'partition'],
  10: ['MESSAGE_TOO_LARGE', 'no', 'never', 'record'],
  13: ['NETWORK_EXCEPTION', 'unknown', 'now', 'partition'],
  14: ['COORDINATOR_LOAD_IN_PROGRESS', 'no', 'now', 'cluster'],
  15: ['COORDINATOR_NOT_AVAILABLE', 'no', 'now', 'cluster'],
  16: ['NOT_COORDINATOR', 'no', 'now', 'cluster'],
  17: ['INVALID_TOPIC_EXCEPTION', 'no', 'backoff', 'topic'],
  18: ['RECORD_LIST_TOO_LARGE', 'no', 'never', 'record'],
  19: ['NOT_ENOUGH_REPLICAS', 'no', 'backoff', 'partition'],
  20: ['NOT_ENOUGH_REPLICAS_AFTER_APPEND', 'unknown', 'now', 'partition'],
  22: ['ILLEGAL_GENERATION', 'no', 'never', 'cluster'],
  25: ['UNKNOWN_MEMBER_ID', 'no', 'never', 'cluster'],
  29: ['TOPIC_AUTHORIZATION_FAILED', 'no', 'backoff', 'topic'],
  30: ['GROUP_AUTHORIZATION_FAILED', 'no', 'backoff', 'cluster'],
  31: ['CLUSTER_AUTHORIZATION_FAILED', 'no', 'backoff', 'cluster'],
  32: ['INVALID_TIMESTAMP', 'no', 'never', 'record'],
  33: ['UNSUPPORTED_SASL_MECHANISM', 'no', 'backoff', 'cluster'],
  34: ['ILLEGAL_SASL_STATE', 'no', 'backoff', 'cluster'],
  35: ['UNSUPPORTED_VERSION', 'no', 'backoff', 'cluster'],
  36: ['TOPIC_ALREADY_EXISTS', 'no', 'never', 'topic'],
  37: ['INVALID_PARTITIONS', 'no', 'never', 'topic'],
  38: ['INVALID_REPLICATION_FACTOR', 'no', 'never', 'topic'],
  40: ['INVALID_CONFIG', 'no', 'never', 'topic'],
  41: ['NOT_CONTROLLER', 'no', 'now', 'cluster'],
  42: ['INVALID_REQUEST', 'no', 'backoff', 'partition'],
  43: ['UNSUPPORTED_FOR_MESSAGE_FORMAT', 'no', 'backoff', 'topic'],
  44: ['POLICY_VIOLATION', 'no', 'backoff', 'topic'],
  45: ['OUT_OF_ORDER_SEQUENCE_NUMBER', 'no', 'now', 'partition', 'renew'],
  46: ['DUPLICATE_SEQUENCE_NUMBER', 'unknown', 'now', 'partition', 'renew'],
  47: ['INVALID_PRODUCER_EPOCH', 'no', 'now', 'partition', 'renew'],
  56: ['KAFKA_STORAGE_ERROR', 'no', 'now', 'partition'],
  58: ['SASL_AUTHENTICATION_FAILED', 'no', 'backoff', 'cluster'],
  59: ['UNKNOWN_PRODUCER_ID', 'no', 'now', 'partition', 'renew'],
  68: ['NON_EMPTY_GROUP', 'no', 'never', 'cluster'],
  69: ['GROUP_ID_NOT_FOUND', 'no', 'never', 'cluster'],
  72: ['LISTENER_NOT_FOUND', 'no', 'now', 'partition'],
  74: ['FENCED_LEADER_EPOCH', 'no', 'now', 'partition'],
  75: ['UNKNOWN_LEADER_EPOCH', 'no', 'now', 'partition'],
  76: ['UNSUPPORTED_COMPRESSION_TYPE', 'no', 'backoff', 'topic'],
  87: ['INVALID_RECORD', 'no', 'never', 'record'],
  89: ['THROTTLING_QUOTA_EXCEEDED', 'no', 'backoff', 'partition'],
  90: ['PRODUCER_FENCED', 'no', 'now', 'partition', 'renew'],
  100: ['UNKNOWN_TOPIC_ID', 'no', 'now', 'topic'],
}

/** Codes that are asked for by name. */
export const protocol = {
  none: 0,
  unknownTopic: 3,
  leaderNotAvailable: 5,
  clusterAuthorizationFailed: 31,
  topicAlreadyExists: 36,
  notController: 41,
  nonEmptyGroup: 68,
  groupNotFound: 69,
} as const

export function protocolName(code: number): string {
  return table[code]?.[0] ?? `ERROR_${code}`
}

/** What a code of the protocol means for a batch that was sent. */
export function causeOfCode(code: number, what: string): Cause {
  // A code that is not known here may come from a newer broker: nothing is assumed of it.
  const [name, written, retry, scope, renew] = table[code] ?? [`ERROR_${code}`, 'unknown', 'backoff', 'partition']
  return { ok: false, written, retry, scope, code: name, message: `${what}: ${name}`, renew: renew !== undefined }
}

const troubles: Readonly<Record<WireTrouble, readonly [code: string, retry: AppendFailure['retry']]>> = {
  refused: ['CONNECTION_REFUSED', 'now'],
  closed: ['CONNECTION_CLOSED', 'now'],
  silent: ['NO_ANSWER', 'now'],
  dns: ['DNS', 'backoff'],
  tls: ['TLS', 'backoff'],
  authentication: ['SASL_AUTHENTICATION_FAILED', 'backoff'],
  unsupported: ['UNSUPPORTED_VERSION', 'backoff'],
  aborted: ['ABORTED', 'backoff'],
  client: ['CLIENT', 'backoff'],
}

/** What it means that there was no answer. */
export function causeOfError(error: unknown): Cause {
  if (!(error instanceof WireError)) {
    // A fault of the client, not of the network: the type of the error says where to look, its text may hold anything.
    const name = error instanceof Error ? error.name : typeof error
    return {
      ok: false,
      written: 'unknown',
      retry: 'backoff',
      scope: 'cluster',
      code: 'CLIENT',
      message: `the client failed (${name})`,
      renew: false,
    }
  }
  const [code, retry] = troubles[error.trouble]
  return {
    ok: false,
    written: error.sent ? 'unknown' : 'no',
    retry,
    scope: 'cluster',
    code,
    message: error.message,
    renew: false,
  }
}

/** The word of Postrider for a failure. */
export function errorCodeOf({ code, scope }: AppendFailure): ErrorCode {
  switch (code) {
    case 'CONNECTION_REFUSED':
    case 'CONNECTION_CLOSED':
      return 'connect'
    case 'NO_ANSWER':
      return 'timeout'
    case 'DNS':
      return 'dns'
    case 'TLS':
      return 'tls'
    case 'ABORTED':
      return 'interrupted'
    case 'SASL_AUTHENTICATION_FAILED':
    case 'UNSUPPORTED_SASL_MECHANISM':
    case 'ILLEGAL_SASL_STATE':
      return 'authentication'
    case 'MESSAGE_TOO_LARGE':
    case 'RECORD_LIST_TOO_LARGE':
      return 'record_too_large'
    // How a coordinator refuses offsets of somebody who is no member, while there are members.
    case 'ILLEGAL_GENERATION':
    case 'UNKNOWN_MEMBER_ID':
    case 'NON_EMPTY_GROUP':
      return 'group_not_empty'
    default:
      if (scope === 'record') return 'payload_refused'
      if (scope === 'topic') return 'topic_unavailable'
      return scope === 'partition' ? 'partition_unavailable' : 'broker_refused'
  }
}

/** A failure of a driver, as an error: `failure` tells what the policy needs. */
export class DriverError extends PostriderError {
  readonly failure: AppendFailure

  constructor(failure: AppendFailure, options?: ErrorOptions) {
    super(errorCodeOf(failure), failure.message, {}, options)
    this.failure = failure
  }
}

/** What failed, whatever was thrown. */
export function failureOf(error: unknown): AppendFailure {
  return error instanceof DriverError ? error.failure : causeOfError(error)
}
