/** A short set over all faults that this machine can do; the long one is `npm run faults -- --runs 1000`. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { catalogue } from './catalogue.ts'
import type { Fault } from './fault.ts'
import { commandOf } from './options.ts'
import type { Given } from './plan.ts'
import { run } from './run.ts'
import { onTools, Theatre } from './theatre.ts'
import { together } from './together.ts'

const seed = Number(process.env['POSTRIDER_FAULTS_SEED'] ?? 1)
const seconds = 2
/** Runs that share the machine take longer to be back; those that have it alone are held to the word. */
const slack = 4
/** Small runs: many of them share the machine. */
const given: Given = { writers: 2, keys: 12 }

const missing = new Map<string, string>()
for (const fault of catalogue) {
  const why = (await fault.missing?.()) ?? null
  if (why !== null) missing.set(fault.name, why)
}
for (const [name, why] of missing) console.warn(`LEFT OUT: the fault ${name}: ${why}`)
const here = catalogue.filter(({ name }) => !missing.has(name))
const named = (pattern: RegExp): Fault[] => here.filter(({ name }) => pattern.test(name))

/** What hurts the server that runs share is kept away from those that do not expect it. */
const killed = named(/^(relay-killed|killed-at-)/)
const frozen = named(/^(relay-frozen|frozen-at-)/)
const ofServer = named(/^(database-(?!half)|partition|server-|backend-|out-of-c|statement-|read-only|receiver-)/)
const ofKafka = named(/^kafka-/)
const elsewhere = here.filter(({ ground }) => ground === onTools)
const long = named(/^(database-half-open|out-of-memory)$/)
const storms = named(/^storm$/)
const alone = here.filter((fault) => ![killed, frozen, ofServer, ofKafka, elsewhere, long, storms].flat().includes(fault))

let one: Theatre
let other: Theatre
beforeAll(async () => {
  one = await Theatre.open()
  other = await Theatre.open()
})
afterAll(() => Promise.all([one[Symbol.asyncDispose](), other[Symbol.asyncDispose]()]))

async function expectToHold(theatre: Theatre, fault: Fault, times = 1): Promise<void> {
  const patient = { ...fault, backWithinMs: fault.backWithinMs * times }
  const { result } = await run(theatre, patient, seed, seconds, given)
  expect(result.broken, commandOf(fault.name, seed, seconds, given)).toEqual([])
}

test('every fault that this machine can do has its place in this set', () => {
  const groups = [...killed, ...frozen, ...ofServer, ...ofKafka, ...elsewhere, ...long, ...storms, ...alone]
  expect(groups.map(({ name }) => name).sort()).toEqual(here.map(({ name }) => name).sort())
})

// Where there is no time for a run of each, many strike in one run, one after the other.
describe.concurrent('every promise is kept', { timeout: 120_000 }, () => {
  test('while relays die', () => expectToHold(one, together(killed), slack))

  test('while relays freeze', () => expectToHold(one, together(frozen), slack))

  test('while the database, the way to it and the receiver fail, and in a storm', async () => {
    for (const fault of [together(ofServer), ...storms]) await expectToHold(other, fault, slack)
  })

  test.runIf(ofKafka.length > 0)('while a broker of Kafka dies and freezes', () => expectToHold(one, together(ofKafka), slack))

  test.each(long)('with $name', (fault) => expectToHold(one, fault, slack))

  test(`with ${alone.map(({ name }) => name).join(', ')}, each alone`, async () => {
    for (const fault of alone) await expectToHold(one, fault, slack)
  })
})

describe('every promise is kept where a run has servers of its own', { timeout: 60_000 }, () => {
  beforeAll(() => Promise.all([one.closeShared(), other.closeShared()]))

  test.each(elsewhere)('$name', (fault) => expectToHold(one, fault))
})
