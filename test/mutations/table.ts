import { basename } from 'node:path'
import { alignedTable } from '../faults/publish.ts'
import { mutations } from './mutations.ts'

/** The mutations, as docs/proofs.md has them. */
export function mutationsTable(): string {
  const rows = mutations.map(({ name, breaks, tests }) => [
    `\`${name}\``,
    breaks,
    tests.map((path) => `[${basename(path).split('.')[0] ?? ''}](../${path})`).join(', '),
  ])
  return alignedTable([['mutation', 'breaks the rule that', 'must be caught by'], ...rows])
}
