import { createHash } from 'node:crypto'

/** How often what goes wrong, as shares of all requests; together at most 1. */
export interface Mischief {
  /** The socket is destroyed without an answer. */
  readonly drop: number
  /** There is never an answer. */
  readonly timeout: number
  /** The answer is `status`. */
  readonly fail: number
}

export type Conduct = 'behave' | 'drop' | 'timeout' | 'fail'

/**
 * What happens to the nth arrival of an id. By a hash rather than by a sequence of random numbers, so that one seed gives
 * the same misbehaviour in whatever order requests arrive.
 */
export function conductOf({ drop, timeout, fail }: Mischief, seed: number, id: string, arrival: number): Conduct {
  const chance = createHash('sha256').update(`${seed} ${id} ${arrival}`).digest().readUInt32BE() / 2 ** 32
  if (chance < drop) return 'drop'
  if (chance < drop + timeout) return 'timeout'
  return chance < drop + timeout + fail ? 'fail' : 'behave'
}
