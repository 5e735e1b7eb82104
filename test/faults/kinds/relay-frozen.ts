import { freeze } from '../crew.ts'
import { road, type Fault } from '../fault.ts'
import { leaseMs } from '../stage.ts'

/** A relay that wakes after its lease has gone, and does not know. */
export const relayFrozen: Fault = {
  name: 'relay-frozen',
  does: 'SIGSTOP to a relay for longer than its lease, then SIGCONT',
  attacks: [...road, 'fence', 'back at once'],
  blows: 3,
  lastsMs: [100, 500],
  limits: { relays: [2, 3] },
  backWithinMs: 5_000,
  async act({ crew }, random) {
    await freeze(crew.one(random).relay, random.int(leaseMs + 100, 2.5 * leaseMs))
  },
  heal: async () => {},
}
