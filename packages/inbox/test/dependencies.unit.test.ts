import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

const read = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8')

test('the inbox brings nothing into a consumer but the words of Postrider', () => {
  const { dependencies, peerDependencies, optionalDependencies } = JSON.parse(read('package.json')) as Record<
    string,
    object | undefined
  >
  expect(Object.keys({ ...dependencies, ...peerDependencies, ...optionalDependencies })).toEqual(['@postrider/schema'])
})

test('its sources import nothing else, not even a type', () => {
  const imported = readdirSync(new URL('../src/', import.meta.url)).flatMap((file) =>
    [...read(`src/${file}`).matchAll(/\bfrom '([^'.][^']*)'/g)].map((match) => match[1] ?? ''),
  )
  const others = new Set(imported.filter((name) => !name.startsWith('@postrider/schema') && !name.startsWith('node:')))
  expect([imported.length > 0, [...others]]).toEqual([true, []])
})
