import type { Given, Plan } from './plan.ts'

/** Ways to make a run smaller, the one that helps most first. Only what is larger than that is tried. */
const smaller: readonly Given[] = [
  { blows: 1 },
  { relays: 1 },
  { writers: 1 },
  { lanes: 1 },
  { keys: 3 },
  { writers: 2 },
  { pageSize: 2 },
  { concurrency: 4 },
]

/** A run that depends on when things happen does not fail each time. */
const tries = 2

/**
 * What is said about a plan so that it still fails and is as small as can be. What cannot be left out stays as the seed decided.
 * @param fails runs it, and says whether a promise was broken
 */
export async function shrink(plan: Plan, given: Given, fails: (given: Given) => Promise<boolean>): Promise<Given> {
  let smallest = given
  for (const step of smaller) {
    const grows = Object.entries(step).some(([name, value]) => sizeOf(plan, smallest, name) <= value)
    if (grows) continue
    for (let nr = 0; nr < tries; nr++) {
      if (!(await fails({ ...smallest, ...step }))) continue
      smallest = { ...smallest, ...step }
      break
    }
  }
  return smallest
}

function sizeOf(plan: Plan, given: Given, name: string): number {
  const said = given[name as keyof Given]
  if (said !== undefined) return said
  return name === 'blows' ? plan.blows.length : Number(plan[name as keyof Plan])
}
