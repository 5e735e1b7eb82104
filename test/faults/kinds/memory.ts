import { road, type Fault } from '../fault.ts'

/** So little that pages of large events do not fit. */
const heapMb = 40
/** Near the largest that `emit` takes. */
const payload = 480_000

export const memory: Fault = {
  name: 'out-of-memory',
  does: `relays have a heap of ${heapMb} MB, and get a burst of events of 480 kB: they die of it, and are started again`,
  attacks: [...road, 'back at once'],
  blows: 1,
  lastsMs: [0, 0],
  limits: { lanes: [4, 6], pageSize: [50, 200], concurrency: [32, 32], relays: [1, 2] },
  backWithinMs: 60_000,
  async arrange({ crew }) {
    crew.options = { nodeArgs: [`--max-old-space-size=${heapMb}`] }
  },
  async act({ writers }, random) {
    const all = Array.from({ length: 60 }, (_, nr) => writers.emit(`large-${nr % 13}`, payload + random.int(0, 20_000)))
    await Promise.all(all)
  },
  heal: async () => {},
}
