/** What is installed is what was looked at: every byte pinned, from the registry, under a licence that we may pass on. */
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { faultsOf, productionOf, type LockEntry, type Lockfile, type Manifest } from './lockfile.ts'

const root = join(import.meta.dirname, '..', '..')
const read = (path: string): unknown => JSON.parse(readFileSync(join(root, path), 'utf8'))

const lock = read('package-lock.json') as Lockfile
const places = globSync(['packages/*/package.json', 'migrations/package.json', 'test/package.json'], { cwd: root }).map((path) =>
  path.replaceAll('\\', '/').replace(/\/package\.json$/, ''),
)
const manifests: Readonly<Record<string, Manifest>> = Object.fromEntries(
  ['', ...places].map((place) => [place, read(join(place, 'package.json')) as Manifest]),
)
/** What others install: all but the tests. */
const shipped = places.filter((place) => place !== 'test')

test('the lockfile pins every byte, names no source but the registry, and says what the manifests say', () => {
  expect(places.length).toBeGreaterThan(8)
  expect(Object.keys(lock.packages).length).toBeGreaterThan(300)
  expect(faultsOf(lock, manifests)).toEqual([])
})

test('so do the lockfiles of tools that are kept apart', () => {
  const others = globSync('**/package-lock.json', { cwd: root, exclude: (path) => path.includes('node_modules') }).filter(
    (path) => path !== 'package-lock.json',
  )
  for (const path of others) {
    const apart = read(path) as Lockfile
    const manifest = read(path.replace('package-lock.json', 'package.json')) as Manifest
    expect([path, faultsOf(apart, { '': manifest }).filter((fault) => !/allowScripts|version undefined/.test(fault))]).toEqual([
      path,
      [],
    ])
  }
})

describe('a fault is found:', () => {
  const place = 'node_modules/zod'
  const changed = (change: Partial<LockEntry>, at: string = place): Lockfile => ({
    ...lock,
    packages: { ...lock.packages, [at]: { ...lock.packages[at], ...change } },
  })
  test.each<[what: string, lock: Lockfile, fault: RegExp]>([
    ['bytes that nothing pins', changed({ integrity: undefined as never }), /zod: has no SHA-512/],
    ['a weak hash', changed({ integrity: 'sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=' }), /zod: has no SHA-512/],
    ['another registry', changed({ resolved: 'https://registry.evil.test/zod.tgz' }), /zod: comes from/],
    ['a git repository', changed({ resolved: 'git+ssh://git@github.com/colinhacks/zod.git#main' }), /zod: comes from/],
    [
      'a registry that only begins alike',
      changed({ resolved: 'https://registry.npmjs.org.evil.test/zod.tgz' }),
      /zod: comes from/,
    ],
    ['a directory', changed({ link: true, resolved: '../zod' }), /zod: leads to \.\.\/zod/],
    ['a script at installation', changed({ hasInstallScript: true }), /decide about zod in allowScripts/],
    ['another range', changed({ dependencies: { commander: '*' } }, 'packages/postrider'), /postrider: its dependencies are not/],
    [
      'another version of our own',
      changed({ version: '9.9.9' }, 'packages/relay'),
      /relay: version 0\.1\.0 is locked as 9\.9\.9/,
    ],
  ])('%s', (_what, broken, fault) => {
    expect(faultsOf(broken, manifests)).toEqual([expect.stringMatching(fault)])
  })

  test('a workspace that is not in it', () => {
    expect(faultsOf(lock, { ...manifests, 'packages/new': { version: '0.1.0' } })).toEqual([
      'packages/new: is not in the lockfile',
    ])
  })
})

/** Licences that let anybody use, change and pass on, and ask for no more than their own text. */
const allowed = new Set(['MIT', 'Apache-2.0', 'ISC', 'BSD-2-Clause', 'BSD-3-Clause', '0BSD', 'BlueOak-1.0.0'])

describe('what is installed with our packages', () => {
  const production = productionOf(lock, shipped)

  test('has a licence of the list', () => {
    expect(production.size).toBeGreaterThan(20)
    const others = [...production].filter(([, { license }]) => license === undefined || !allowed.has(license))
    expect(others.map(([place, { license }]) => `${place}: ${license}`)).toEqual([])
  })

  test('runs nothing when it is installed', () => {
    expect([...production].filter(([, { hasInstallScript }]) => hasInstallScript === true).map(([place]) => place)).toEqual([])
  })

  test('is nothing at all for a writer and a consumer', () => {
    for (const place of ['packages/schema', 'packages/writer', 'packages/inbox'])
      expect([place, [...productionOf(lock, [place]).keys()]]).toEqual([place, []])
  })

  test('is all of it found, also what stands deeper in the tree', () => {
    const names = new Set([...production.keys()].map((place) => place.slice(place.lastIndexOf('node_modules/') + 13)))
    for (const direct of ['pg', 'kysely', 'undici', 'kafkajs', 'pino', 'zod', 'commander', 'yaml', 'pg-protocol', 'sonic-boom'])
      expect(names).toContain(direct)
    const { 'node_modules/pg': _, ...without } = lock.packages
    expect(() => productionOf({ ...lock, packages: without }, shipped)).toThrow(/^pg, which /)
  })
})
