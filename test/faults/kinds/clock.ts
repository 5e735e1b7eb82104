import { pathToFileURL } from 'node:url'
import { join } from 'node:path'
import { road, type Fault } from '../fault.ts'

const preload = pathToFileURL(join(import.meta.dirname, '..', 'shift-clock.ts')).href

export const clock: Fault = {
  name: 'clock-off',
  does: "the relays' clocks jump by up to 4 minutes, back and forth, while relays are killed",
  attacks: [...road, 'fence', 'back at once'],
  blows: 3,
  lastsMs: [100, 800],
  backWithinMs: 5_000,
  async arrange({ crew, plan }) {
    crew.options = { nodeArgs: ['--import', `${preload}?seed=${plan.seed}`] }
  },
  async act({ crew }, random) {
    const { relay } = crew.one(random)
    relay.kill('SIGKILL')
    await relay.ended
  },
  heal: async () => {},
}
