import { type ErrorCode, type ErrorDetails, PostriderError } from '@postrider/schema'

/** Errors that `postrider.emit` raises itself, with DETAIL `{"index": 0, "path": "type", "limit": 128}`. */
const raised: ReadonlyMap<unknown, ErrorCode> = new Map([
  ['PR001', 'invalid_event'],
  ['PR002', 'invalid_payload'],
  ['PR003', 'payload_too_large'],
])

/** Undefined table, undefined function, invalid schema name. */
const missing: ReadonlySet<unknown> = new Set(['42P01', '42883', '3F000'])

/**
 * The database's error in Postrider's words where it is about the events or about the schema, with the original as `cause`.
 * Any other (serialization failure, deadlock, lost connection, …) stays what it is: the caller's retry logic knows it.
 */
export function translate(
  error: unknown,
  schema: string,
  events: readonly { readonly type: string; readonly id: string }[],
): unknown {
  if (!(error instanceof Error)) return error
  const { code: state, detail } = error as { code?: unknown; detail?: unknown }
  if (missing.has(state)) {
    return new PostriderError(
      'schema_missing',
      `${schema}.emit cannot run in this database: ${error.message}`,
      {},
      { cause: error },
    )
  }
  const code = raised.get(state)
  if (code === undefined) return error
  const details = detailsOf(detail)
  const event = details.index === undefined ? undefined : events[details.index]
  return new PostriderError(
    code,
    error.message,
    { ...details, ...(event && { type: event.type, id: event.id }) },
    { cause: error },
  )
}

function detailsOf(detail: unknown): ErrorDetails {
  try {
    const { index, path, limit } = JSON.parse(String(detail)) as Record<string, unknown>
    return {
      ...(typeof index === 'number' && { index }),
      ...(typeof path === 'string' && { path }),
      ...(typeof limit === 'number' && { limit }),
    }
  } catch {
    // Only the place is lost: the message and the cause say the rest.
    return {}
  }
}
