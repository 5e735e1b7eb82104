import { parseArgs } from 'node:util'
import type { Fault } from './fault.ts'
import type { Given } from './plan.ts'

export interface Options {
  readonly runs: number
  /** Of the first run; each further run has the next one. */
  readonly seed: number
  readonly only: readonly Fault[]
  readonly seconds: number
  /** All faults in each run, one after the other. */
  readonly together: boolean
  readonly json: boolean
  readonly list: boolean
  /** Directory for the evidence of runs that broke a promise. */
  readonly keep: string | null
  /** Makes a run that broke a promise smaller, as long as it does. */
  readonly shrink: boolean
  /** File with the JSON of runs: puts their table into docs/proofs.md, and runs nothing. */
  readonly publish: string | null
  readonly given: Given
}

export const help = `npm run faults [-- options]

  Relays carry the events of writers from PostgreSQL to a receiver while something goes wrong, as a seed decides. In the
  end everything that was written is compared with everything that was received. Real servers and processes, on 127.0.0.1.

  --runs N         how many runs, the faults in turn (default 20; with --seed each fault once)
  --seed N         of the first run; the next run has N + 1 (default: by chance, and printed)
  --only A,B       these faults alone
  --together       all of them in each run, one after the other
  --seconds N      how long writers write in a run (default 8)
  --with K=N,...   overrides what the seed decides: writers, keys, relays, lanes, pageSize, concurrency, blows
  --shrink         makes the first run that fails smaller, as long as it fails
  --keep DIR       writes what was written and received in a run that fails to a file in DIR
  --json           a line of JSON for each run on stdout; what a person reads goes to stderr
  --publish FILE   reads such lines and puts their table into docs/proofs.md
  --list           the faults, and which of them cannot be done here
  --help           this text

  Exit status: 0 when every promise held in every run; 1 otherwise; 2 for wrong options.
`

export class UsageError extends Error {}

const numbers = [
  'writers',
  'keys',
  'relays',
  'lanes',
  'pageSize',
  'concurrency',
  'blows',
] as const satisfies readonly (keyof Given)[]

/** @throws UsageError */
export function readOptions(args: readonly string[], catalogue: readonly Fault[]): Options | 'help' {
  const values = parse(args)
  if (values.help === true) return 'help'
  const only = faultsOf(values.only, catalogue)
  const seed = whole('--seed', values.seed ?? String(Date.now() % 1_000_000), 0, 2 ** 31)
  return {
    runs: whole(
      '--runs',
      values.runs ?? String(values.together ? 1 : values.seed === undefined ? 20 : only.length),
      1,
      1_000_000,
    ),
    seed,
    only,
    seconds: whole('--seconds', values.seconds ?? '8', 1, 3_600),
    together: values.together === true,
    json: values.json === true,
    list: values.list === true,
    shrink: values.shrink === true,
    keep: values.keep ?? null,
    publish: values.publish ?? null,
    given: givenOf(values.with),
  }
}

function parse(args: readonly string[]): ReturnType<typeof parseArgs<{ options: typeof known }>>['values'] {
  try {
    return parseArgs({ args: [...args], options: known, allowPositionals: false }).values
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}

const known = {
  runs: { type: 'string' },
  seed: { type: 'string' },
  only: { type: 'string' },
  seconds: { type: 'string' },
  with: { type: 'string' },
  keep: { type: 'string' },
  publish: { type: 'string' },
  shrink: { type: 'boolean' },
  together: { type: 'boolean' },
  json: { type: 'boolean' },
  list: { type: 'boolean' },
  help: { type: 'boolean' },
} as const

function faultsOf(only: string | undefined, catalogue: readonly Fault[]): readonly Fault[] {
  if (only === undefined) return catalogue
  return only.split(',').map((name) => {
    const found = catalogue.find((fault) => fault.name === name)
    if (found === undefined) throw new UsageError(`--only: there is no fault ${name}; see --list`)
    return found
  })
}

function givenOf(text: string | undefined): Given {
  if (text === undefined) return {}
  return Object.fromEntries(
    text.split(',').map((pair) => {
      const [name = '', value = ''] = pair.split('=')
      if (!numbers.some((number) => number === name)) throw new UsageError(`--with: ${name} is none of ${numbers.join(', ')}`)
      return [name, whole(`--with ${name}`, value, name === 'blows' ? 0 : 1, 10_000)]
    }),
  )
}

function whole(option: string, value: string, low: number, high: number): number {
  const number = Number(value)
  if (!Number.isInteger(number) || number < low || number > high)
    throw new UsageError(`${option}: expected a whole number from ${low} to ${high}, got ${value}`)
  return number
}

/** The command that runs it again: the same writers and the same blows. Faults that came together have a `+` between their names. */
export function commandOf(fault: string, seed: number, seconds: number, given: Given): string {
  const more = Object.entries(given).map(([name, value]) => `${name}=${value}`)
  return [
    `npm run faults -- --seed ${seed} --only ${fault.replaceAll('+', ',')}`,
    ...(fault.includes('+') ? ['--together'] : []),
    ...(seconds === 8 ? [] : [`--seconds ${seconds}`]),
    ...(more.length === 0 ? [] : [`--with ${more.join(',')}`]),
  ].join(' ')
}
