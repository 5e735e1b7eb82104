import { expect, test } from 'vitest'
import { readGiven } from '../given.ts'
import { bench } from './ordering.ts'

test('an older transaction that writes later and two workers break no order of a key, where a loop that polls loses it', async () => {
  const args = ['--systems', 'postrider,polling loop', '--cases', 'older,two workers', '--keys', '8']
  const { rows } = await bench.run(readGiven(bench.options, args), () => {})
  const ours = rows.filter(({ system }) => system === 'postrider')
  expect(ours.map(({ order }) => order)).toEqual(['kept', 'kept'])
  expect(rows.map((row) => row['not delivered'])).toEqual(['', '', '', ''])
  expect(rows.find((row) => row['case'] === 'two workers' && row['system'] === 'polling loop')?.['order']).toMatch(/^broken/)
}, 60_000)
