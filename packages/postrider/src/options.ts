import { InvalidArgumentError, type Command } from 'commander'
import type { ConfigFlags } from './config/load.ts'

/** What every command takes. */
export interface CommonFlags {
  readonly json?: true
}

export type DatabaseFlags = ConfigFlags & CommonFlags

/** `--json`, `--quiet`, `--no-color`. */
export function withCommon(command: Command): Command {
  return command
    .option('--json', 'print JSON instead of text')
    .option('-q, --quiet', 'print only data and errors')
    .option('--no-color', 'no colour, also on a terminal')
}

/** `--config`, and the common ones. */
export function withConfig(command: Command): Command {
  return withCommon(command.option('-c, --config <file>', 'configuration (default: postrider.config.ts, .yaml or .json here)'))
}

/** Where the database is, and the common ones. */
export function withDatabase(command: Command): Command {
  return withConfig(command)
    .option('--database-url-file <file>', 'file that holds the URL of the database (or set POSTRIDER_DATABASE_URL)')
    .option('--schema <name>', 'schema of Postrider in the database (default: postrider)')
}

/** A whole number from `least` to `most`. */
export function wholeNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (!/^\d+$/.test(text) || value < least || value > most) {
      throw new InvalidArgumentError(`Expected a whole number from ${least} to ${most}.`)
    }
    return value
  }
}

/** `30%` or `0.3`, as 0.3. */
export function share(text: string): number {
  const [, number = '', percent] = /^(\d+(?:\.\d+)?)(%)?$/.exec(text) ?? []
  const value = percent === undefined ? Number(number) : Number(number) / 100
  if (number === '' || value > 1) throw new InvalidArgumentError('Expected a share such as 30% or 0.3.')
  return value
}

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

const longestMs = 36_500 * 86_400_000
/** Timers of Node count in 32 bits; a longer one would fire at once. */
const longestWaitMs = 24 * 86_400_000

/** `200ms`, `2s`, `1m`, `2h` or `1d`, in milliseconds. */
export function duration(text: string): number {
  const [, number = '', unit = ''] = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text) ?? []
  const ms = Number(number) * (unitMs[unit] ?? 1)
  if (number === '' || ms > longestMs) throw new InvalidArgumentError('Expected a time such as 200ms, 2s or 1m.')
  return ms
}

/** The same, for something that is waited for. */
export function wait(text: string): number {
  const ms = duration(text)
  if (ms > longestWaitMs) throw new InvalidArgumentError('Expected a time such as 200ms, 2s or 1m, at most 24d.')
  return ms
}

/** A number of seconds from `least` to `most`, in milliseconds. */
export function seconds(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (!/^\d+(\.\d+)?$/.test(text) || value < least || value > most) {
      throw new InvalidArgumentError(`Expected seconds from ${least} to ${most}.`)
    }
    return value * 1_000
  }
}

/** A position in the log, as text: it may be larger than a number can hold. */
export function position(text: string): string {
  if (!/^\d{1,18}$/.test(text)) throw new InvalidArgumentError('Expected a position in the log, which is a whole number.')
  return text
}

/** The number of a cutover, as text. */
export function cutoverNumber(text: string): string {
  if (!/^\d{1,18}$/.test(text))
    throw new InvalidArgumentError('Expected the number of a cutover, as in: postrider graduate status.')
  return text
}

export function uuid(text: string): string {
  if (!/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i.test(text)) {
    throw new InvalidArgumentError('Expected the id of an event, which is a UUID.')
  }
  return text.toLowerCase()
}

/** For an option or argument that may be given several times. */
export function collect<T>(parse: (text: string) => T): (text: string, before: readonly T[] | undefined) => T[] {
  return (text, before = []) => [...before, parse(text)]
}
