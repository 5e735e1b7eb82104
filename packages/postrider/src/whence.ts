import { InvalidArgumentError } from 'commander'
import { pointInTime } from './filter.ts'

/** Where a sink goes on, as PostgreSQL spells it: with all that has come meanwhile. */
export const everything = '-infinity'
/** With nothing of it. */
export const nothing = 'infinity'

/** `all`, `skip`, or a time. */
export function whence(text: string): string {
  if (text === 'all') return everything
  if (text === 'skip') return nothing
  try {
    return pointInTime(text)
  } catch {
    throw new InvalidArgumentError('Expected all, skip, or a time: 2026-01-31T08:30:00Z, or 2h for two hours ago.')
  }
}
