import type { Bench, Say } from './bench.ts'
import { readGiven } from './given.ts'
import { describeHost } from './machine.ts'
import { report } from './print.ts'

/** Below this load nobody else was at work. */
const quietLoad = 0.5

/**
 * Runs a benchmark and prints machine, versions, settings and table, and as the last line all of it as JSON.
 * @throws UsageError for options that cannot be; and whatever broke
 */
export async function runBench(bench: Bench, args: readonly string[], say: Say, print: Say): Promise<void> {
  const given = readGiven(bench.options, args)
  const { rounds } = given
  const at = new Date().toISOString()
  const machine = describeHost()
  const { cpu, cores, memoryGb, kernel, loadBefore } = machine
  print(`${bench.name}: ${bench.about}`)
  print(`machine: ${cpu}, ${cores} cores, ${memoryGb} GB, Linux ${kernel}, load before ${loadBefore}`)
  const began = performance.now()
  const result = await bench.run(given, say)
  const seconds = Math.round((performance.now() - began) / 100) / 10
  const versions = { node: machine.node, ...result.versions }
  const notes = [
    `${rounds === 1 ? 'one round' : `medians of ${rounds} rounds, with the least and the greatest`}; ${seconds} s in all`,
    ...(given.quick ? ['a quick run: its figures say nothing'] : []),
    ...(loadBefore > quietLoad ? ['the machine was busy before: the figures are of little use'] : []),
    ...(result.notes ?? []),
  ]
  print(report({ ...result, versions, notes }))
  const { settings, rows, postgres = {} } = result
  const line = { bench: bench.name, at, seconds, rounds, machine, versions, postgres, given: given.all, settings, rows, notes }
  print(JSON.stringify(line))
}
