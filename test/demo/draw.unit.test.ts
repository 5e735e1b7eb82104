import { stripVTControlCharacters } from 'node:util'
import { expect, test } from 'vitest'
import { Diary } from './diary.ts'
import { draw, fold } from './draw.ts'
import { Score } from './score.ts'

function busyScore(): Score {
  const diary = new Diary()
  for (let event = 1; event <= 12_345; event++) {
    const page = diary.open()
    page.note(event, String(event))
    page.committing()
    page.committed()
  }
  const score = new Score(20_000, diary, () => {})
  score.relay = { number: 2, standing: 'up', lanes: 4 }
  score.receiver = { number: 1, standing: 'killed' }
  score.trouble = { waiting: 7, blocked: 3, dead: 1 }
  score.request({ is: 'request', result: 'taken', id: '1', orderId: 1, atMs: 0 })
  for (let nr = 1; nr <= 30; nr++) score.happen(`happening ${nr}, ${'told in many words '.repeat(5)}`, 'bad')
  return score
}

test.for([
  [40, 20],
  [64, 24],
  [80, 24],
  [100, 34],
  [200, 60],
] as const)('the picture stays within %i columns and %i rows', ([columns, rows]) => {
  const lines = draw(busyScore(), Array<number>(500).fill(12_344), { columns, rows }).map(stripVTControlCharacters)
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(columns)
  expect(lines.length).toBeLessThan(rows)
})

test('it says how each part stands, what is committed and delivered, and what happened last', () => {
  const picture = draw(busyScore(), [1, 2, 3], { columns: 80, rows: 40 }).map(stripVTControlCharacters).join('\n')
  expect(picture).toMatch(/ORDER SERVICE +RELAY 2 +RECEIVER 1/)
  expect(picture).toMatch(/● carries 4 lanes +✗ killed/)
  expect(picture).toMatch(/committed +━+─+ 12,345 of 20,000/)
  expect(picture).toMatch(/delivered +─+ 1 of 20,000/)
  expect(picture).toMatch(/1 dead letter /)
  expect(picture).toContain('happening 30,')
})

test('a text is folded between words, and a word that is too long is cut', () => {
  expect(fold('one two three', 7)).toEqual(['one two', 'three'])
  expect(fold('immeasurable', 6)).toEqual(['immea…'])
})
