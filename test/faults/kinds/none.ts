import { road, type Fault } from '../fault.ts'

/** For comparison: without a fault nothing comes twice. */
export const none: Fault = {
  name: 'none',
  does: 'nothing: for comparison',
  attacks: road,
  blows: 0,
  lastsMs: [0, 0],
  backWithinMs: 0,
  act: async () => {},
  heal: async () => {},
}
