/**
 * Measures what Postrider does on this machine: `npm run bench -- <name> [options]`; without a name, what there is.
 *
 * Progress goes to stderr; machine, versions, settings and a table to stdout, and as its last line all of it as JSON.
 * Figures are medians of several rounds, and nothing here fails because a figure is bad. Exit status: 0 measured,
 * 1 something broke, 2 there is no such benchmark or option.
 *
 * With POSTRIDER_BENCH_PROFILE set to a directory, relays and receivers write their CPU profiles there when they end.
 */
import type { Bench, Say } from './bench.ts'
import { commonOptions, UsageError } from './given.ts'
import { runBench } from './run-bench.ts'

/** Each is a module of this name that exports `bench`; loaded only when it is asked for, because some bring much with them. */
const names = [
  'drain',
  'webhook',
  'kafka',
  'latency',
  'producer',
  'held',
  'fanout',
  'relays',
  'size',
  'idle',
  'soak',
  'limits',
  'peers',
  'ordering',
  'retention',
  'endpoints',
  'backfill',
  'versus',
] as const

const print: Say = (text) => console.log(text)
const say: Say = (text) => void process.stderr.write(`${text}\n`)

process.exitCode = await main(process.argv.slice(2))

async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args
  if (name === undefined || name === '--help') {
    print(await list())
    return 0
  }
  let bench: Bench | undefined
  try {
    bench = await named(name)
    if (rest.includes('--help')) print(help(bench))
    else await runBench(bench, rest, say, print)
    return 0
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    say(`bench: ${error.message}\n\n${bench === undefined ? '' : `${help(bench)}\n\n`}${await list()}`)
    return 2
  }
}

/** @throws UsageError when there is none of this name */
async function named(name: string): Promise<Bench> {
  const known = names.find((one) => one === name)
  if (known === undefined) throw new UsageError(`there is no benchmark "${name}"`)
  const { bench } = (await import(`./${known}.ts`)) as { readonly bench: Bench }
  return bench
}

async function list(): Promise<string> {
  const lines = await Promise.all(
    names.map(async (name) => {
      const about = await named(name).then(
        (bench) => bench.about,
        (error: unknown) => `cannot be loaded: ${error instanceof Error ? error.message : String(error)}`,
      )
      return `  ${name.padEnd(10)} ${about}`
    }),
  )
  return ['npm run bench -- <name> [options]', '', ...lines, '', '`npm run bench -- <name> --help` shows its options.'].join('\n')
}

function help({ name, about, options }: Bench): string {
  const lines = Object.entries({ ...options, ...commonOptions, ...options }).map(
    ([option, { type, default: usual, quick, about }]) => {
      const small = quick === undefined ? '' : `; ${String(quick)} with --quick`
      return `  --${option.padEnd(12)} ${about}${type === 'boolean' ? '' : ` (${String(usual)}${small})`}`
    },
  )
  return [`npm run bench -- ${name} [options]: ${about}`, '', ...lines].join('\n')
}
