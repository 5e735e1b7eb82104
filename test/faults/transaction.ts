import type { Discipline } from './history.ts'
import type { Plan } from './plan.ts'
import type { Random } from './random.ts'

export interface Emit {
  readonly do: 'emit'
  readonly id: string
  readonly key: string | null
  readonly discipline: Discipline
  readonly pad: number
  readonly dueInMs: number | null
}

/** What a writer does in a transaction, one after the other. */
export type Step = Emit | { readonly do: 'savepoint' | 'rollback to' } | { readonly do: 'hold'; readonly ms: number }

/**
 * - `statement`: it is one statement, without BEGIN.
 * - `cut`: the connection breaks before the COMMIT is sent; `cut at commit`: right behind it.
 */
export type End = 'statement' | 'commit' | 'rollback' | 'commit prepared' | 'rollback prepared' | 'cut' | 'cut at commit'

export interface Transaction {
  readonly pauseMs: number
  readonly steps: readonly Step[]
  readonly end: End
}

/** How an event is kept in order; locks are taken in the order of the keys' names, so that writers do not meet in a deadlock. */
interface Key {
  readonly name: string | null
  readonly discipline: Discipline
}

/** The keys of a writer: those that all share, with a lock or without, its own, and none. */
export function keysOf(plan: Pick<Plan, 'keys'>, writer: number): readonly Key[] {
  const shared = Array.from({ length: plan.keys }, (_, nr): Key => {
    const discipline = (['row', 'row', 'commit', 'none'] as const)[nr % 4] ?? 'row'
    return { name: `${discipline}-${nr}`, discipline }
  })
  const own = [1, 2].map((nr): Key => ({ name: `own-${writer}-${nr}`, discipline: 'none' }))
  return [...shared, ...own, { name: null, discipline: 'none' }]
}

/** What one writer does: as many transactions as are asked for, always the same for the same seed. */
export function* transactionsOf(plan: Plan, writer: number, random: Random): Generator<Transaction, never> {
  const keys = keysOf(plan, writer)
  for (;;) yield transactionOf(plan, keys, random)
}

function transactionOf({ pauseMs }: Plan, keys: readonly Key[], random: Random): Transaction {
  const pause = random.int(0, 2 * pauseMs)
  if (random.chance(0.55)) {
    // A key that is in order by the lock of a transaction needs one that lasts.
    const key = random.pick(keys.filter(({ discipline }) => discipline !== 'commit'))
    return { pauseMs: pause, steps: [emitOf(key, random)], end: 'statement' }
  }
  const long = random.chance(0.02)
  // One that lasts holds no lock that others wait for.
  const mine = long ? keys.filter(({ name }) => name === null || name.startsWith('own')) : keys
  const chosen = Array.from({ length: random.int(1, 6) }, () => random.pick(mine))
  const inOrder = chosen.toSorted((a, b) => (a.name ?? '').localeCompare(b.name ?? ''))
  const steps = inOrder.map((key): Step => emitOf(key, random))
  if (random.chance(0.2)) insertSavepoint(steps, random)
  if (long) steps.splice(random.int(1, steps.length), 0, { do: 'hold', ms: random.int(500, 2_500) })
  else if (random.chance(0.15)) steps.splice(random.int(1, steps.length), 0, { do: 'hold', ms: random.int(1, 40) })
  return { pauseMs: pause, steps, end: endOf(random) }
}

function emitOf({ name, discipline }: Key, random: Random): Emit {
  const scheduled = random.chance(0.03)
  return {
    do: 'emit',
    id: random.uuid(),
    key: name,
    discipline,
    pad: random.chance(0.02) ? random.int(1_000, 20_000) : random.int(0, 60),
    dueInMs: scheduled ? random.int(50, 2_000) : null,
  }
}

/** A part in the middle that is taken back, or kept. */
function insertSavepoint(steps: Step[], random: Random): void {
  const at = random.int(0, steps.length - 1)
  steps.splice(at, 0, { do: 'savepoint' })
  if (random.chance(0.7)) steps.splice(random.int(at + 1, steps.length), 0, { do: 'rollback to' })
}

function endOf(random: Random): End {
  const chance = random.next()
  if (chance < 0.7) return 'commit'
  if (chance < 0.82) return 'rollback'
  if (chance < 0.9) return 'commit prepared'
  if (chance < 0.93) return 'rollback prepared'
  return chance < 0.96 ? 'cut' : 'cut at commit'
}
