import type { Check } from './check.ts'
import { cluster, segments, sequence } from './log.ts'
import { listen, notifyQueue } from './notify.ts'
import { careful, progress, relays, versions } from './relays.ts'
import { rights } from './rights.ts'
import { drift, indexes, migrations, partitions } from './schema.ts'
import { clock, connections, durability, primary, serverVersion } from './server.ts'
import { blockedKeys, circuits, deadLetters, inactive, staleOperations } from './sinks.ts'
import { horizon, vacuum } from './upkeep.ts'

/** In the order in which one would look: the server, the schema, what keeps it healthy, who carries, where it goes. */
export const checks: readonly Check[] = [
  serverVersion,
  primary,
  durability,
  connections,
  clock,
  migrations,
  drift,
  partitions,
  indexes,
  rights,
  cluster,
  sequence,
  listen,
  notifyQueue,
  horizon,
  vacuum,
  segments,
  relays,
  versions,
  progress,
  careful,
  circuits,
  inactive,
  deadLetters,
  blockedKeys,
  staleOperations,
]
