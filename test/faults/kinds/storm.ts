import { road, type Fault } from '../fault.ts'
import type { Stage } from '../stage.ts'
import { network } from './network.ts'
import { receiver } from './receiver.ts'
import { relayFrozen } from './relay-frozen.ts'
import { relayKilled } from './relay-killed.ts'
import { server } from './server.ts'

const named = (faults: readonly Fault[], ...names: readonly string[]): Fault[] =>
  faults.filter(({ name }) => names.includes(name))

const parts: readonly Fault[] = [
  relayKilled,
  relayFrozen,
  ...named(network, 'database-resets', 'partition', 'database-slow-link'),
  ...named(receiver, 'receiver-lies', 'receiver-refuses', 'receiver-dies'),
  ...named(server, 'server-crashed'),
]

const raging = new WeakMap<Stage, readonly Fault[]>()

/** What comes alone elsewhere, two at a time. */
export const storm: Fault = {
  name: 'storm',
  does: 'two of the others at the same time, others each time',
  attacks: [...road, 'fence', 'back at once'],
  blows: 3,
  lastsMs: [200, 1_500],
  limits: { relays: [2, 3] },
  backWithinMs: 10_000,
  async act(stage, random, blow) {
    const first = random.pick(parts)
    const second = random.pick(parts.filter((part) => part !== first))
    raging.set(stage, [first, second])
    // Each has its own chance, whichever of them comes to its question first.
    await Promise.all([first, second].map((part) => part.act(stage, random.stream(`${part.name} ${blow.atMs}`), blow)))
  },
  async heal(stage, random) {
    for (const part of raging.get(stage) ?? []) await part.heal(stage, random)
  },
}
