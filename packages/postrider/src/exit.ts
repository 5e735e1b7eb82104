import { isPostriderError, type ErrorCode } from '@postrider/schema'
import { CommanderError } from 'commander'

/** What the program's exit code says. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  /** Wrong options, arguments or configuration. */
  usage: 2,
  nothingMatched: 3,
  /** The program works, and what it looked at is not as it should be. */
  checkFailed: 4,
  databaseUnreachable: 5,
  /** Not confirmed. */
  refused: 6,
  timedOut: 124,
  interrupted: 130,
  /** A stop that did not wait for what was in flight. */
  forced: 143,
} as const

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes]

const ofError: Partial<Record<ErrorCode, ExitCode>> = {
  invalid_options: exitCodes.usage,
  invalid_event: exitCodes.usage,
  invalid_payload: exitCodes.usage,
  payload_too_large: exitCodes.usage,
  unknown_type: exitCodes.usage,
  invalid_filter: exitCodes.usage,
  invalid_endpoint: exitCodes.usage,
  client_missing: exitCodes.usage,
  not_found: exitCodes.nothingMatched,
  schema_missing: exitCodes.checkFailed,
  schema_changed: exitCodes.checkFailed,
  cluster_changed: exitCodes.checkFailed,
  sequence_cache: exitCodes.checkFailed,
  cutover_refused: exitCodes.checkFailed,
  sink_in_use: exitCodes.checkFailed,
  group_not_empty: exitCodes.checkFailed,
  database_unavailable: exitCodes.databaseUnreachable,
  not_confirmed: exitCodes.refused,
  migration_locked: exitCodes.timedOut,
}

/** Ctrl-C at a question. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted'
}

export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage
  if (error instanceof Interrupted) return exitCodes.interrupted
  if (isPostriderError(error)) return ofError[error.code] ?? exitCodes.failed
  return isTimeout(error) ? exitCodes.timedOut : exitCodes.failed
}

/** A statement that the server cancelled at its deadline, or one that `pg` no longer waits for. */
function isTimeout(error: unknown): boolean {
  return error instanceof Error && (('code' in error && error.code === '57014') || error.message === 'Query read timeout')
}
