import type { Fault, Limits } from './fault.ts'
import type { Stage } from './stage.ts'

/** Several faults in one run, each once, one after the other: where there is no time for a run of each. */
export function together(faults: readonly Fault[]): Fault {
  const strikes = new WeakMap<Stage, number>()
  const current = (stage: Stage): Fault | undefined => faults[(strikes.get(stage) ?? 0) % faults.length]
  return {
    name: faults.map(({ name }) => name).join('+'),
    does: 'several faults, one after the other',
    attacks: [...new Set(faults.flatMap(({ attacks }) => attacks))],
    blows: faults.length,
    allBlows: true,
    lastsMs: [50, 300],
    limits: narrowest(faults.map(({ limits }) => limits ?? {})),
    // The next one comes while the last one is being recovered from.
    backWithinMs: faults.reduce((sum, { backWithinMs }) => sum + backWithinMs, 0),
    ...(faults.some(({ losesHistory }) => losesHistory) ? { losesHistory: true } : {}),
    ...(faults.some(({ losesFences }) => losesFences) ? { losesFences: true } : {}),
    ...(faults.some(({ complains }) => complains) ? { complains: true } : {}),
    async arrange(stage, random) {
      for (const fault of faults) await fault.arrange?.(stage, random.stream(fault.name))
    },
    async act(stage, random, blow) {
      const fault = current(stage)
      await fault?.act(stage, random.stream(fault.name), blow)
    },
    async heal(stage, random) {
      await current(stage)?.heal(stage, random)
      strikes.set(stage, (strikes.get(stage) ?? 0) + 1)
    },
  }
}

/** What all of them can do with. Where they cannot agree, the one that asks for more has its way. */
function narrowest(all: readonly Limits[]): Limits {
  const limits: Record<string, [number, number]> = {}
  for (const one of all)
    for (const [name, [low, high]] of Object.entries(one)) {
      const known = limits[name] ?? [low, high]
      const least = Math.max(known[0], low)
      limits[name] = [least, Math.max(least, Math.min(known[1], high))]
    }
  return limits
}
