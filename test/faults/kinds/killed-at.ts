import { setTimeout as sleep } from 'node:timers/promises'
import type { Channel } from '../../relay-process.ts'
import { road, type Fault } from '../fault.ts'

/** Every named point of the road, where it is told of on a channel. */
export const points = {
  lane: 'postrider:lane',
  claimed: 'postrider:claimed',
  attempting: 'postrider:attempting',
  attempt: 'postrider:attempt',
  settling: 'postrider:settling',
  settled: 'postrider:settled',
} as const satisfies Record<string, Channel>

const diesWithinMs = 3_000

export const killedAt: readonly Fault[] = Object.entries(points).map(([point, channel]): Fault => ({
  name: `killed-at-${point}`,
  does: `a relay that joins gets SIGKILL right at \`${channel}\``,
  attacks: [...road, 'back at once'],
  blows: 3,
  lastsMs: [50, 400],
  limits: { relays: [1, 2], lanes: [3, 6] },
  backWithinMs: 5_000,
  async act({ crew }, random) {
    const victim = await crew.guest({ dieAt: { channel, nth: point === 'lane' ? 1 : random.int(1, 25) } })
    await Promise.race([victim.ended, sleep(diesWithinMs)])
    victim.kill('SIGKILL')
    await victim.ended
  },
  heal: async () => {},
}))
