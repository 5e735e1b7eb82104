import { formatPath } from './path.ts'
import { type Place, refuse } from './refuse.ts'

/**
 * Standard Schema v1, as much of it as a writer needs (https://standardschema.dev).
 * The validators of zod, valibot and arktype have this shape; so has anything else with such a `~standard` property.
 */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>
    readonly types?: { readonly input: Input; readonly output: Output } | undefined
  }
}

export type StandardResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly StandardIssue[] }

export interface StandardIssue {
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
}

/** What a service may emit: event type → validator of its payload. */
export type Catalogue = Readonly<Record<string, StandardSchema>>

/** The event types of a catalogue. */
export type TypeOf<C extends Catalogue> = keyof C & string

/** What `emit` takes as the payload of an event type. */
export type InputOf<S extends StandardSchema> = NonNullable<S['~standard']['types']>['input']

/** What the validator makes of it, and the log holds. */
export type OutputOf<S extends StandardSchema> = NonNullable<S['~standard']['types']>['output']

/**
 * A payload that only the compiler checks: `'order.noted': event<{ text: string }>()`.
 * `event<Uint8Array>()` declares a binary payload.
 */
export function event<T>(): StandardSchema<T> {
  return { '~standard': { version: 1, vendor: 'postrider', validate: (value) => ({ value: value as T }) } }
}

/** What the validator made of the data. All its complaints together, if it has any. */
export function outputOf(result: StandardResult<unknown>, place: Place): unknown {
  if (result.issues === undefined) return result.value
  const found = result.issues.map(({ path = [], message }) => ({
    path: formatPath(
      'payload',
      path.map((part) => (typeof part === 'object' ? part.key : part)),
    ),
    message,
  }))
  const problems = found.map(({ path, message }) => `${path}: ${message}`)
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : ''
  return refuse('invalid_payload', place, `${problems[0] ?? 'payload: the validator gave no reason'}${more}`, {
    path: found[0]?.path ?? 'payload',
    problems,
  })
}
