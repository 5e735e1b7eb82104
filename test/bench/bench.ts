import type { Given } from './given.ts'

/** An option of a benchmark: `--events 50000`. Lists are written with commas. */
export interface BenchOption {
  readonly type: 'string' | 'boolean'
  readonly default: string | boolean
  /** Its default with `--quick`, so that a run takes a few seconds. */
  readonly quick?: string | boolean
  readonly about: string
}

export type BenchOptions = Readonly<Record<string, BenchOption>>

/** A line for whoever waits; goes to stderr. */
export type Say = (line: string) => void

/**
 * A benchmark: a module `<name>.ts` beside this one that exports it as `bench`. It measures and never judges.
 * Options `rounds`, `quick` and `help` are common to all; `rounds` may be given another default.
 */
export interface Bench {
  readonly name: string
  /** One line: what is measured. */
  readonly about: string
  readonly options: BenchOptions
  run(given: Given, say: Say): Promise<Result>
}

export type Row = Readonly<Record<string, string | number>>

export interface Result {
  /** Everything that the figures depend on and that is not seen in the options: sizes of pages, slots, payloads. */
  readonly settings: Readonly<Record<string, string | number | boolean>>
  /**
   * One for each thing compared. A figure `x` is the median of the rounds; `x min` and `x max`, where they are there,
   * are printed behind it. Made by {@link import('./rounds.ts').Rounds}.
   */
  readonly rows: readonly Row[]
  readonly notes?: readonly string[]
  /** Versions of what took part, beside Node: `{ postgres: '18.4' }`. */
  readonly versions?: Readonly<Record<string, string>>
  /** Settings of the server that change what a figure means. */
  readonly postgres?: Readonly<Record<string, string>>
}
