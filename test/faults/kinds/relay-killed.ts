import { road, type Fault } from '../fault.ts'

export const relayKilled: Fault = {
  name: 'relay-killed',
  does: 'SIGKILL to a relay, or to all at once; each is started again',
  attacks: [...road, 'fence', 'back at once'],
  blows: 4,
  lastsMs: [100, 1_200],
  backWithinMs: 5_000,
  async act({ crew }, random) {
    const victims = random.chance(0.3) ? [...crew.members] : [crew.one(random)]
    for (const { relay } of victims) relay.kill('SIGKILL')
    await Promise.all(victims.map(({ relay }) => relay.ended))
  },
  heal: async () => {},
}
