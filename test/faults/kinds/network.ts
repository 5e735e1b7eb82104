import { setTimeout as sleep } from 'node:timers/promises'
import { road, type Fault } from '../fault.ts'
import type { Random } from '../random.ts'
import type { Stage } from '../stage.ts'

/** The ways of one relay, or of all. */
const some = ({ crew }: Stage, random: Random) => (random.chance(0.5) ? crew.ways : [crew.one(random).way])

const everywhere = { attacks: [...road, 'fence', 'back at once'], blows: 3 } as const satisfies Partial<Fault>

/** The way between relays and the database; the one to the receivers stays as it is. */
export const network: readonly Fault[] = [
  {
    ...everywhere,
    name: 'database-resets',
    does: 'connections to the database are reset, several times',
    lastsMs: [0, 200],
    backWithinMs: 5_000,
    async act(stage, random) {
      for (let times = random.int(1, 5); times > 0; times--) {
        for (const way of some(stage, random)) way.reset()
        await sleep(random.int(30, 250))
      }
    },
    heal: async () => {},
  },
  {
    ...everywhere,
    name: 'database-half-open',
    does: 'connections to the database fall silent for ever, and nobody is told; new ones work',
    blows: 1,
    lastsMs: [100, 500],
    limits: { relays: [2, 3] },
    backWithinMs: 45_000,
    // The longest that a statement may take, plus the time to find out that its connection is dead.
    waitsWithinMs: 45_000,
    async act(stage, random) {
      for (const way of some(stage, random)) way.forget()
    },
    heal: async () => {},
  },
  {
    ...everywhere,
    name: 'database-slow-link',
    does: 'every packet from and to the database takes up to 120 ms',
    lastsMs: [500, 2_000],
    backWithinMs: 5_000,
    async act(stage, random) {
      for (const way of some(stage, random)) way.slow(random.int(5, 120))
    },
    async heal({ crew }) {
      for (const way of crew.ways) way.slow(0)
    },
  },
  {
    ...everywhere,
    name: 'partition',
    does: 'relays do not reach the database, but still the receiver; what was held back arrives later',
    lastsMs: [200, 2_500],
    limits: { relays: [2, 3] },
    backWithinMs: 8_000,
    async act(stage, random) {
      for (const way of some(stage, random)) way.part()
    },
    async heal({ crew }) {
      for (const way of crew.ways) way.join()
    },
  },
]
