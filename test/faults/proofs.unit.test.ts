import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { catalogue } from './catalogue.ts'
import { mutations } from '../mutations/mutations.ts'
import { faultsTable, marks, tableOf } from './publish.ts'
import type { Result } from './run.ts'

const path = join(import.meta.dirname, '..', '..', 'docs', 'proofs.md')
const page = readFileSync(path, 'utf8')

test('the page has every fault in the words of the code', () => {
  expect(page).toContain(faultsTable(catalogue))
})

test('every test that the page names is there, and so is every fault', () => {
  const tests = [...page.matchAll(/\]\((\.\.\/[^)]*\.test\.ts)\): _([^_]+)_/g)]
  expect(tests.length).toBeGreaterThan(8)
  for (const [, file = '', words = ''] of tests) {
    const text = readFileSync(join(dirname(path), file), 'utf8')
    // What is told of each case stands in another line than what is told of all.
    for (const part of words.replace('(with trouble: true)', '(with trouble').split(' … ')) expect(text, file).toContain(part)
  }
  const names = new Set([...catalogue, ...mutations].map(({ name }) => name))
  const cells = [...page.matchAll(/^\|.*\|$/gm)].flatMap(([row]) =>
    [...row.matchAll(/`([a-z]+(?:-[a-z]+)+)`/g)].map(([, name = '']) => name),
  )
  expect(cells.filter((name) => !names.has(name))).toEqual([])
})

test('there is a place for the results', () => {
  for (const mark of Object.values(marks).flatMap(({ begin, end }) => [begin, end])) expect(page.split(mark)).toHaveLength(2)
})

test('a table of results adds up what runs have shown, and tells the worst', () => {
  const result = (seed: number, more: Partial<Result>): Result => ({
    fault: 'relay-killed',
    seed,
    plan: null,
    committed: 10,
    rolledBack: 1,
    unknown: 0,
    receipts: 10,
    takeovers: 1,
    deaths: 1,
    verdict: null,
    stale: [],
    backMs: null,
    longestMs: 0,
    broken: [],
    tookMs: 1,
    ...more,
  })
  const verdict = { lost: [], phantom: [], outOfOrder: [], wrongBytes: [], changedId: [], early: [], repeats: 3, bound: 20 }
  const table = tableOf(
    [
      result(4, { verdict, backMs: 1_240, longestMs: 900 }),
      result(9, { verdict: { ...verdict, lost: ['a', 'b'], repeats: 7 }, backMs: 310, longestMs: 2_000, stale: ['x'] }),
    ],
    catalogue,
  )
  const cells = table
    .split('\n')
    .at(-1)!
    .split('|')
    .map((cell) => cell.trim())
  expect(cells).toEqual(['', '`relay-killed`', '2', '4–9', '2', '0', '0', '0', '0', '1', '7 of 20', '1.2 s', '2.0 s', ''])
})
