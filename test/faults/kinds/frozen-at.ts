import { setTimeout as sleep } from 'node:timers/promises'
import { road, type Fault } from '../fault.ts'
import { leaseMs, type Stage } from '../stage.ts'
import { points } from './killed-at.ts'

/** Until it has stood still and knows that its lanes are gone. */
const noticesWithinMs = 6_000

/** The hardest test of a fence: the relay stands still between two of its own steps, and goes on with the next. */
export const frozenAt: readonly Fault[] = (['claimed', 'attempting', 'attempt', 'settling', 'settled'] as const).map(
  (point): Fault => {
    const guests = new WeakMap<Stage, Awaited<ReturnType<Stage['crew']['guest']>>>()
    return {
      name: `frozen-at-${point}`,
      does: `a relay that joins stands still right at \`${points[point]}\`, for longer than its lease, and goes on`,
      attacks: [...road, 'fence', 'back at once'],
      blows: 2,
      lastsMs: [50, 200],
      limits: { relays: [1, 2], lanes: [3, 6] },
      backWithinMs: 5_000,
      async act(stage, random) {
        const standStillMs = random.int(leaseMs + 100, 2.5 * leaseMs)
        const dieAt = { channel: points[point], nth: random.int(1, 25), standStillMs }
        guests.set(stage, await stage.crew.guest({ dieAt }))
      },
      async heal(stage) {
        const guest = guests.get(stage)
        if (guest === undefined) return
        const lost = (): boolean => guest.told('postrider:lane').some(({ message }) => message.change === 'lost')
        for (const end = performance.now() + noticesWithinMs; !lost() && performance.now() < end;) await sleep(20)
        await guest.stop()
      },
    }
  },
)
