import type { Fault } from './fault.ts'
import { clock } from './kinds/clock.ts'
import { diskFull } from './kinds/disk-full.ts'
import { failover } from './kinds/failover.ts'
import { frozenAt } from './kinds/frozen-at.ts'
import { kafka } from './kinds/kafka.ts'
import { killedAt } from './kinds/killed-at.ts'
import { limits } from './kinds/limits.ts'
import { memory } from './kinds/memory.ts'
import { network } from './kinds/network.ts'
import { none } from './kinds/none.ts'
import { pooler } from './kinds/pooler.ts'
import { receiver } from './kinds/receiver.ts'
import { relayFrozen } from './kinds/relay-frozen.ts'
import { relayKilled } from './kinds/relay-killed.ts'
import { restored } from './kinds/restored.ts'
import { server } from './kinds/server.ts'
import { storm } from './kinds/storm.ts'

/** Every fault, in the order in which they are told. */
export const catalogue: readonly Fault[] = [
  none,
  relayKilled,
  relayFrozen,
  ...killedAt,
  ...frozenAt,
  memory,
  clock,
  ...network,
  ...server,
  ...limits,
  diskFull,
  ...failover,
  restored,
  pooler,
  ...receiver,
  ...kafka,
  storm,
]
