/** Runs faults, started by `npm run faults`; see options.ts for what it takes. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { catalogue } from './catalogue.ts'
import type { Fault } from './fault.ts'
import { commandOf, help, readOptions, UsageError, type Options } from './options.ts'
import type { Given } from './plan.ts'
import { publish } from './publish.ts'
import { run, type Evidence, type Result } from './run.ts'
import { shrink } from './shrink.ts'
import { Theatre } from './theatre.ts'
import { together } from './together.ts'

process.exitCode = await main()

async function main(): Promise<number> {
  try {
    const options = readOptions(process.argv.slice(2), catalogue)
    if (options === 'help') process.stdout.write(help)
    else if (options.list) await list(options.only)
    else if (options.publish !== null) await publish(await readFile(options.publish, 'utf8'), catalogue)
    else return await runAll(options)
    return 0
  } catch (error) {
    const usage = error instanceof UsageError
    process.stderr.write(usage ? `${error.message}\n\n${help}` : `${error instanceof Error ? error.stack : String(error)}\n`)
    return usage ? 2 : 1
  }
}

async function runAll(options: Options): Promise<number> {
  const { runs, seed, seconds, given, json } = options
  const say = (text: string): boolean => (json ? process.stderr : process.stdout).write(`${text}\n`)
  const each = await possible(options.only, say)
  if (each.length === 0) return 1
  const faults = options.together ? [together(each)] : each
  const stopping = stopOnSignal()
  let failed = 0
  let done = 0
  await using theatre = await Theatre.open()
  for (; done < runs && !stopping.aborted; done++) {
    const fault = faults[done % faults.length]
    if (fault === undefined) break
    const { result, evidence } = await attempt(theatre, fault, seed + done, seconds, given)
    // Ctrl-C in a terminal ends relays and receivers too: what came of such a run says nothing.
    if (stopping.aborted) break
    if (json) process.stdout.write(`${JSON.stringify(shortened(result))}\n`)
    say(lineOf(result))
    if (result.broken.length === 0) continue
    failed++
    for (const line of result.broken) say(`    ${line}`)
    say(`    again: ${commandOf(fault.name, result.seed, seconds, given)}`)
    if (options.keep !== null) say(`    evidence: ${keep(options.keep, result, evidence)}`)
    if (!options.shrink || result.plan === null) continue
    const fails = async (smaller: Given): Promise<boolean> =>
      (await attempt(theatre, fault, result.seed, seconds, smaller)).result.broken.length > 0
    say(`    smallest: ${commandOf(fault.name, result.seed, seconds, await shrink(result.plan, given, fails))}`)
    break
  }
  say(`${done} runs from seed ${seed} on: ${failed === 0 ? 'every promise held' : `${failed} broke a promise`}`)
  return failed === 0 && done > 0 ? 0 : 1
}

/** A run that could not be done breaks a promise too: that the fault was tried. */
async function attempt(
  theatre: Theatre,
  fault: Fault,
  seed: number,
  seconds: number,
  given: Given,
): Promise<{ result: Result; evidence: Evidence | null }> {
  try {
    return await run(theatre, fault, seed, seconds, given)
  } catch (error) {
    const why = reasonsOf(error).join('; and when it was cleaned up: ')
    return { result: notDone(fault, seed, why), evidence: null }
  }
}

/** What went wrong first, and what went wrong in cleaning up after it. */
function reasonsOf(error: unknown): string[] {
  if (error instanceof SuppressedError) return [...reasonsOf(error.suppressed), ...reasonsOf(error.error)]
  return [error instanceof Error ? (error.stack ?? error.message) : String(error)]
}

function notDone(fault: Fault, seed: number, why: string): Result {
  const nothing = {
    committed: 0,
    rolledBack: 0,
    unknown: 0,
    receipts: 0,
    takeovers: 0,
    deaths: 0,
    backMs: null,
    longestMs: 0,
    tookMs: 0,
  }
  return {
    fault: fault.name,
    seed,
    plan: null,
    ...nothing,
    verdict: null,
    stale: [],
    broken: [`the run could not be done: ${why}`],
  }
}

/** Those that can be done on this machine; of the others it says why not, whatever else is printed. */
async function possible(faults: readonly Fault[], say: (text: string) => void): Promise<Fault[]> {
  const found: Fault[] = []
  for (const fault of faults) {
    const why = (await fault.missing?.()) ?? null
    if (why === null) found.push(fault)
    else say(`LEFT OUT ${fault.name}: ${why}`)
  }
  return found
}

async function list(faults: readonly Fault[]): Promise<void> {
  const width = Math.max(...faults.map(({ name }) => name.length))
  for (const fault of faults) {
    const why = (await fault.missing?.()) ?? null
    process.stdout.write(`${fault.name.padEnd(width)}  ${fault.does}${why === null ? '' : ` (not here: ${why})`}\n`)
  }
}

function lineOf({
  fault,
  seed,
  broken,
  committed,
  receipts,
  takeovers,
  deaths,
  verdict,
  backMs,
  longestMs,
  tookMs,
}: Result): string {
  const repeats = verdict === null ? '' : `, ${verdict.repeats} of at most ${verdict.bound} repeats`
  const back = backMs === null ? '' : `, back in ${(backMs / 1_000).toFixed(1)} s`
  const relays = `${deaths} relays died, ${takeovers} lanes taken over`
  const words = `${committed} committed, ${receipts} received${repeats}, ${relays}${back}, longest wait ${(longestMs / 1_000).toFixed(1)} s`
  return `${broken.length === 0 ? 'held  ' : 'BROKEN'} ${fault} ${seed}: ${words} (${(tookMs / 1_000).toFixed(1)} s)`
}

/** Lists of thousands of events say no more than their beginning. */
function shortened(result: Result): object {
  const { verdict } = result
  if (verdict === null) return result
  const short = Object.entries(verdict).map(([name, value]) => [
    name,
    Array.isArray(value) ? value.slice(0, 20) : (value as unknown),
  ])
  return { ...result, verdict: Object.fromEntries(short) as object }
}

function keep(directory: string, result: Result, evidence: Evidence | null): string {
  const path = join(directory, `${result.fault}-${result.seed}.json`)
  mkdirSync(directory, { recursive: true })
  writeFileSync(path, JSON.stringify({ result, ...evidence }))
  return path
}

/** The run that is under way ends, and is cleaned up after. A second signal ends at once: what was started ends by itself. */
function stopOnSignal(): AbortSignal {
  const stopping = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => (stopping.signal.aborted ? process.exit(130) : stopping.abort()))
  return stopping.signal
}
