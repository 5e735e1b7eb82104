import { parseArgs } from 'node:util'
import type { BenchOption, BenchOptions } from './bench.ts'

/** What was asked for cannot be done as it was written: exit status 2. */
export class UsageError extends Error {}

/** The options of one run, with every default in its place. */
export interface Given {
  /** A small run, to see that it works; its figures say nothing. */
  readonly quick: boolean
  /** How often everything is measured, 1 or more. */
  readonly rounds: number
  /** As it was written. */
  text(name: string): string
  /** @throws UsageError unless it is a number of 0 or more */
  number(name: string): number
  /** Numbers with commas between. @throws UsageError unless there is one or more, each of 0 or more */
  numbers(name: string): readonly number[]
  /** Words with commas between. @throws UsageError for a word that is not among those allowed */
  words<Word extends string>(name: string, allowed: readonly Word[]): readonly Word[]
  /** One of the words allowed. @throws UsageError for any other */
  word<Word extends string>(name: string, allowed: readonly Word[]): Word
  flag(name: string): boolean
  /** All of them, for the record. */
  readonly all: Readonly<Record<string, string | boolean>>
}

export const commonOptions: BenchOptions = {
  rounds: { type: 'string', default: '3', quick: '1', about: 'how often each is measured; figures are medians' },
  quick: { type: 'boolean', default: false, about: 'a small run, to see that it works' },
  help: { type: 'boolean', default: false, about: 'show the options' },
}

/** @throws UsageError for an option that is not there, or without its value */
export function readGiven(options: BenchOptions, args: readonly string[]): Given {
  const known: BenchOptions = { ...commonOptions, ...options }
  const config = Object.fromEntries(Object.entries(known).map(([name, { type }]) => [name, { type }]))
  let values: Record<string, string | boolean | undefined>
  try {
    values = parseArgs({ args: [...args], options: config, strict: true, allowPositionals: false }).values
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
  const quick = values['quick'] === true
  const chosen = (name: string, option: BenchOption): string | boolean =>
    values[name] ?? (quick ? (option.quick ?? option.default) : option.default)
  return givenOf(Object.fromEntries(Object.entries(known).map(([name, option]) => [name, chosen(name, option)])), quick)
}

function givenOf(all: Readonly<Record<string, string | boolean>>, quick: boolean): Given {
  const text = (name: string): string => {
    const value = all[name]
    if (typeof value !== 'string') throw new TypeError(`there is no option "${name}" with a value`)
    return value
  }
  const numeral = (name: string, word: string): number => {
    const value = word.trim() === '' ? Number.NaN : Number(word)
    if (!(value >= 0 && value < Infinity)) throw new UsageError(`--${name}: expected a number of 0 or more, got "${word}"`)
    return value
  }
  const given: Given = {
    all,
    quick,
    get rounds() {
      const rounds = numeral('rounds', text('rounds'))
      if (!Number.isInteger(rounds) || rounds < 1) throw new UsageError(`--rounds: expected 1 or more, got "${rounds}"`)
      return rounds
    },
    text,
    number: (name) => numeral(name, text(name)),
    numbers: (name) =>
      text(name)
        .split(',')
        .map((word) => numeral(name, word)),
    words: (name, allowed) =>
      text(name)
        .split(',')
        .map((word) => oneOf(name, word.trim(), allowed)),
    word: (name, allowed) => oneOf(name, text(name), allowed),
    flag: (name) => all[name] === true,
  }
  return given
}

function oneOf<Word extends string>(name: string, word: string, allowed: readonly Word[]): Word {
  const found = allowed.find((one) => one === word)
  if (found === undefined) throw new UsageError(`--${name}: expected ${allowed.join(', ')}, got "${word}"`)
  return found
}
