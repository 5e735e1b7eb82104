/** What a check found. */
export interface Finding {
  readonly state: 'ok' | 'warn' | 'fail'
  /** What is so. */
  readonly message: string
  /** What to do about it: a statement, a command or a sentence; null when nothing is to be done. */
  readonly fix: string | null
}

/** One question about a database; each has its own deadline, and may fail for itself. */
export interface Check {
  /** Stands in the output, and never changes. */
  readonly name: string
  /** True: it can only be asked when every migration is applied. */
  readonly needsSchema: boolean
  look(patient: Patient): Promise<Finding>
}

/** What is examined. */
export interface Patient {
  /** Name of the schema; a plain identifier. */
  readonly schema: string
  /** Where the session of {@link Patient.ask} leads. */
  readonly url: string
  /** Round a pooler; false: there is no such way. */
  readonly directUrl: string | false
  readonly thresholds: Thresholds
  /** Runs one statement, read-only, with a deadline; `postrider.` in it becomes the name of the schema. */
  ask<Row>(this: void, text: string, values?: readonly unknown[]): Promise<Row[]>
}

/** From where on something is worth a word. */
export interface Thresholds {
  /** A transaction, snapshot or slot that holds cleaning up back for longer, in seconds. */
  readonly horizonSeconds: number
  /** Dead rows of a table, when they are also more than the live ones. */
  readonly deadRows: number
  /** A lane with a backlog that has not moved for longer, in seconds. */
  readonly stuckSeconds: number
  /** A pause without an end that is older, in seconds. */
  readonly pausedSeconds: number
  /** Bytes of an index that nobody has used. */
  readonly unusedIndexBytes: number
}

export const standardThresholds: Thresholds = {
  horizonSeconds: 300,
  deadRows: 100_000,
  stuckSeconds: 300,
  pausedSeconds: 86_400,
  unusedIndexBytes: 50_000_000,
}

export function ok(message: string): Finding {
  return { state: 'ok', message, fix: null }
}

export function warn(message: string, fix: string): Finding {
  return { state: 'warn', message, fix }
}

export function fail(message: string, fix: string): Finding {
  return { state: 'fail', message, fix }
}

/** `a, b, c and 4 more`. */
export function wordList(words: readonly string[], most = 3): string {
  const rest = words.length - most
  return rest > 0 ? `${words.slice(0, most).join(', ')} and ${rest} more` : words.join(', ')
}
