/** What an operator writes, in files, in the environment and on the command line: a setting, or an error that names what is wrong. */
import { answerOr, fuzz, hostileText } from '@postrider/test/fuzz'
import { isPostriderError } from '@postrider/schema'
import { InvalidArgumentError } from 'commander'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { stringify } from 'yaml'
import { loadConfig } from '../src/config/load.ts'
import { overlaysOf } from '../src/config/overlay.ts'
import { parseJson } from '../src/config/parse-json.ts'
import { parseYaml } from '../src/config/parse-yaml.ts'
import { followReferences } from '../src/config/refer.ts'
import { endpointName } from '../src/endpoint/name.ts'
import { overlap, types } from '../src/endpoint/options.ts'
import { pointInTime, rate, words } from '../src/filter.ts'
import { createScrubber } from '../src/log/scrub.ts'
import { duration, position, seconds, share, uuid, wait, wholeNumber } from '../src/options.ts'
import { ownPlaces } from '../src/own-places.ts'
import { plain } from '../src/print.ts'
import { temporaryDirectory } from './directory.ts'

const secret = 'whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='
const canary = 'canary9e41bb07'

/** A configuration that is right, in which a few places are replaced by whatever comes. */
const whole = {
  database: { url: 'postgres://relay@db.test:5432/shop', connections: 4 },
  schema: 'postrider',
  relay: { name: 'r1', leaseMs: 5_000 },
  health: { host: '127.0.0.1', port: 4_480 },
  log: { level: 'info' },
  sinks: {
    billing: {
      kind: 'webhook',
      url: 'https://example.com/hook',
      secrets: { current: '${env:SECRET}' },
      types: ['order.*'],
      headers: { 'x-a': 'b' },
      retry: 'fast',
    },
  },
}
const paths = pathsOf(whole)

function pathsOf(value: unknown, above: readonly string[] = []): (readonly string[])[] {
  if (typeof value !== 'object' || value === null) return [above]
  return [above, ...Object.entries(value).flatMap(([name, inner]) => pathsOf(inner, [...above, name]))].filter(
    (path) => path.length > 0,
  )
}

type Change = readonly [path: readonly string[], name: string | null, value: unknown]

function changed(changes: readonly Change[]): unknown {
  const content = structuredClone(whole) as Record<string, unknown>
  for (const [path, name, value] of changes) {
    let place: unknown = content
    for (const part of path.slice(0, -1))
      place = typeof place === 'object' && place !== null ? (place as Record<string, unknown>)[part] : undefined
    if (typeof place !== 'object' || place === null) continue
    Object.defineProperty(place, name ?? path.at(-1) ?? 'x', { value, enumerable: true, configurable: true, writable: true })
  }
  return content
}

const value = fc.oneof(
  hostileText(),
  fc.double(),
  fc.boolean(),
  fc.constant(null),
  fc.object({ maxDepth: 2 }),
  fc.array(hostileText(20), { maxLength: 3 }),
)
const change = fc.tuple<[readonly string[], string | null, unknown]>(
  fc.constantFrom(...paths),
  fc.option(fc.oneof(hostileText(12), fc.constantFrom<string>('__proto__', 'constructor', 'toString'))),
  value,
)

test('a configuration is loaded, or refused as invalid_options; frozen, with nothing of it on a prototype', async () => {
  await using directory = await temporaryDirectory()
  const before = Reflect.ownKeys(Object.prototype).length
  await fc.assert(
    fc.asyncProperty(
      fc.array(change, { minLength: 1, maxLength: 3 }),
      fc.constantFrom('json', 'yaml'),
      fc.dictionary(
        fc.constantFrom('POSTRIDER_DATABASE_URL', 'POSTRIDER_SCHEMA', 'POSTRIDER_LOG_LEVEL', 'POSTRIDER_DATABASE_URL_FILE'),
        hostileText(40),
      ),
      async (changes, ending, env) => {
        const content = changed(changes)
        const file = await directory.write(`c.${ending}`, ending === 'json' ? JSON.stringify(content) : stringify(content))
        try {
          const { settings } = await loadConfig({ config: file }, { env: { ...env, SECRET: secret }, directory: directory.path })
          expect(Object.isFrozen(settings.sinks)).toBe(true)
          for (const place of ownPlaces(settings)) expect(place).toMatch(/:\d+$/)
        } catch (error) {
          if (!isPostriderError(error) || error.code !== 'invalid_options') throw error
          expect(error.message).not.toContain(secret.slice(6))
        }
      },
    ),
    { seed: 20_261_121, numRuns: 250 },
  )
  expect(Reflect.ownKeys(Object.prototype).length).toBe(before)
}, 20_000)

test('YAML and JSON are parsed or refused, and the refusal repeats nothing of the text', () => {
  const broken = fc
    .tuple(
      fc.constantFrom(
        'password: ',
        'a: {b: ',
        '- ',
        '"url": ',
        '{"password": ',
        '["',
        '{"a": "x", "b": ',
        '? ',
        '%TAG ! ',
        '--- ',
      ),
      fc.constantFrom('', '*', '!', '&', '|', '>', '@', '%', '`', '"', "'", '{', '[', '!!', '%YAML ', '? ', '- - '),
      fc.constantFrom('', '\n', ' x', ': y', '"', '}', '\n}', '",', ' #', '\t', '\\q"', '\u0007'),
    )
    .map(([before, sign, after]) => `${before}${sign}${canary}${after}`)
  const mixed = fc.tuple(broken, hostileText(60)).map((parts) => parts.join('\n'))
  fuzz(
    fc.oneof(broken, mixed, hostileText(), fc.json()),
    (text) => {
      for (const parse of [parseYaml, parseJson]) {
        try {
          parse(text)
        } catch (error) {
          if (!(error instanceof Error)) throw error
          expect(error.message, text).not.toContain(canary.slice(0, 6))
          expect(error.message.length).toBeLessThan(300)
          expect(error.message).not.toContain('\n')
          expect(error.cause).toBeUndefined()
        }
      }
    },
    { runs: 400 },
  )
})

test('a configuration that contains itself, or is nested too deep, is refused', async () => {
  await using directory = await temporaryDirectory()
  const texts = {
    'circle.yaml': 'sinks: &s\n  a: *s\n',
    'circles.yaml': 'a: &a [*a, *a, *a, *a]\n',
    'deep.json': `${'{"a":'.repeat(3_000)}1${'}'.repeat(3_000)}`,
    'deep.yaml': `${'['.repeat(3_000)}${']'.repeat(3_000)}`,
    'laughs.yaml': `a: &a [x,x,x,x,x,x,x,x,x]\n${[...'bcdefgh'].map((name, nth) => `${name}: &${name} [${Array.from({ length: 9 }, () => `*${'abcdefgh'.charAt(nth)}`).join(',')}]\n`).join('')}`,
  }
  for (const [name, text] of Object.entries(texts)) {
    const file = await directory.write(name, text)
    await expect(loadConfig({ config: file }, { env: {} }), name).rejects.toMatchObject({ code: 'invalid_options' })
  }
})

test('references are followed or become a problem, and a secret that is followed is known as one', () => {
  fuzz(
    fc.oneof(
      hostileText(),
      fc.array(hostileText(20)).map((all) => all.join('${env:A}')),
      fc.constantFrom('__proto__', 'constructor', 'toString').map((name) => `\${env:${name}}`),
    ),
    (text) => {
      const found = {
        env: { A: canary },
        directory: '/nowhere',
        overridden: [],
        problems: [] as string[],
        failed: new Set<string>(),
        secrets: new Set<string>(),
      }
      const followed = followReferences({ a: { text } }, found) as { a: { text: string } }
      if (followed.a.text.includes(canary)) expect(found.secrets.has(canary)).toBe(true)
      for (const problem of found.problems) expect(problem).not.toContain(canary)
      expect(followed.a.text).not.toContain('[native code]')
    },
  )
  fuzz(
    fc.dictionary(fc.constantFrom('POSTRIDER_DATABASE_URL', 'POSTRIDER_DATABASE_URL_FILE', 'POSTRIDER_SCHEMA'), hostileText(40)),
    (env) => {
      overlaysOf({}, env, '/nowhere', [])
    },
  )
})

test('an argument of a command is read as a number within bounds, a time, a name, or refused', () => {
  const number = fc
    .tuple(fc.oneof(fc.integer(), fc.double(), fc.bigInt()), fc.constantFrom('', 'ms', 's', 'm', 'h', 'd', '%', '/s', '/m'))
    .map((parts) => parts.join(''))
  const time = fc.date({ noInvalidDate: true }).map((date) => date.toISOString())
  const argument = fc.oneof(
    hostileText(),
    number,
    time,
    fc
      .tuple(fc.integer({ min: 1, max: 400 }), fc.constantFrom('', 'ms', 's', 'd', '/s', '/m', '%'))
      .map(([times, unit]) => `${'9'.repeat(times)}${unit}`),
  )
  const finite = (parse: (text: string) => number) => (text: string) => expect(Number.isFinite(parse(text)), text).toBe(true)
  const readers: readonly ((text: string) => unknown)[] = [
    finite(duration),
    (text) => expect(wait(text)).toBeLessThan(2 ** 31),
    finite(share),
    finite(rate),
    finite(overlap),
    finite(seconds(0, 60)),
    finite(wholeNumber(0, 10)),
    (text) => expect(pointInTime(text)).toMatch(/^\d{4}-\d\d-\d\d/),
    (text) => expect(position(text)).toBe(text),
    (text) => expect(uuid(text)).toHaveLength(36),
    (text) => expect(endpointName(text).whole).toBe(text),
    (text) => [types(text), words(text)],
  ]
  fuzz(argument, (text) => {
    for (const read of readers) {
      try {
        read(text)
      } catch (error) {
        if (!(error instanceof InvalidArgumentError)) throw error
      }
    }
  })
})

test('what goes to a terminal or into the log is one line without control characters, in time', () => {
  const scrub = createScrubber([canary])
  fuzz(hostileText(), (text) => {
    expect(plain(text)).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/)
    expect(scrub(`${text}${canary}${text}`)).not.toContain(canary)
    expect(scrub(`postgres://u:${canary}x@h/${text}`)).not.toContain('canary9e')
  })
})

test('the configuration that is changed here is one that loads', async () => {
  await using directory = await temporaryDirectory()
  const file = await directory.write('c.json', whole)
  const { settings } = await loadConfig({ config: file }, { env: { SECRET: secret } })
  expect(ownPlaces(settings)).toEqual(['db.test:5432', '127.0.0.1:4480'])
  expect(answerOr(['invalid_options'], () => 1)).toBe(1)
})
