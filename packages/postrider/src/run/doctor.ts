import { loadDatabase, loadSinks } from '../config/load.ts'
import { checks } from '../doctor/checks.ts'
import { destinations } from '../doctor/destinations.ts'
import { examine, type Result } from '../doctor/examine.ts'
import { exitCodes } from '../exit.ts'
import type { DatabaseFlags } from '../options.ts'
import { plain, print, printJson, say, style } from '../print.ts'

export async function doctor(flags: DatabaseFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  const sinks = destinations(async () => (await loadSinks(flags)).settings)
  const results = await examine(settings, [...checks, sinks])
  const failed = results.filter(({ state }) => state === 'fail').length
  const warned = results.filter(({ state }) => state === 'warn').length
  if (failed > 0) process.exitCode = exitCodes.checkFailed
  if (flags.json) return printJson({ failed, warned, checks: results })
  const width = Math.max(...results.map(({ name }) => name.length))
  for (const result of results) show(result, width)
  say(failed + warned === 0 ? 'All is well.' : `${failed} failed, ${warned} ${warned === 1 ? 'warning' : 'warnings'}.`)
}

const marks = { ok: ['green', 'ok  '], warn: ['yellow', 'warn'], fail: ['red', 'FAIL'] } as const

function show({ name, state, message, fix }: Result, width: number): void {
  const [colour, mark] = marks[state]
  print(`${style(colour, mark)}  ${name.padEnd(width)}  ${plain(message)}`)
  if (fix !== null) print(`${' '.repeat(width + 8)}${style('dim', `→ ${plain(fix)}`)}`)
}
