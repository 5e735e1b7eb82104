import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { mutations } from './mutations.ts'
import { mutationsTable } from './table.ts'

const root = join(import.meta.dirname, '..', '..')
const read = (path: string): string => readFileSync(join(root, path), 'utf8')

test.for(mutations)('$name breaks the code as it stands, and its tests are there', ({ file, from, to, tests }) => {
  expect(read(file).split(from)).toHaveLength(2)
  expect(to).not.toBe(from)
  for (const path of tests) expect(read(path)).toMatch(/\b(?:test|it)\b/)
})

test('the page of proofs has every mutation', () => {
  expect(read('docs/proofs.md')).toContain(mutationsTable())
})
