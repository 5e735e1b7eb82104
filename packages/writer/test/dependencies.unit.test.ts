import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

interface Manifest {
  dependencies?: Record<string, string>
  peerDependencies?: Record<string, string>
  optionalDependencies?: Record<string, string>
}

const manifest = (name: string): Manifest =>
  JSON.parse(readFileSync(new URL(`../../${name}/package.json`, import.meta.url), 'utf8')) as Manifest

test('the writer brings nothing into a domain service but the words of Postrider', () => {
  const { dependencies, peerDependencies, optionalDependencies } = manifest('writer')
  expect(Object.keys({ ...dependencies, ...peerDependencies, ...optionalDependencies })).toEqual(['@postrider/schema'])
})

test('and those bring nothing', () => {
  const { dependencies, peerDependencies, optionalDependencies } = manifest('schema')
  expect(Object.keys({ ...dependencies, ...peerDependencies, ...optionalDependencies })).toEqual([])
})

test('its sources import nothing else, not even a type', () => {
  const folder = new URL('../src/', import.meta.url)
  const imported = readdirSync(folder).flatMap((file) =>
    [...readFileSync(new URL(file, folder), 'utf8').matchAll(/\bfrom '([^'.][^']*)'/g)].map((match) => match[1]),
  )
  expect(imported).not.toEqual([])
  expect([...new Set(imported)].filter((name) => name !== '@postrider/schema' && !name?.startsWith('node:'))).toEqual([])
})
