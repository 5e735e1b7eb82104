import { chown, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { serverUser } from '../../postgres/binaries.ts'
import { findTools, missingTools } from '../../postgres/tools.ts'
import { until } from '../../until.ts'
import { road, type Fault } from '../fault.ts'
import { startProxy, type Proxy } from '../proxy.ts'
import { Server } from '../server.ts'
import type { Stage } from '../stage.ts'
import { onTools } from '../theatre.ts'

interface Pair {
  readonly standby: Server
  /** By which the standby follows. */
  readonly replication: Proxy
}

const pairs = new WeakMap<Stage, Pair>()

const promoted = {
  blows: 1,
  lastsMs: [0, 1_500],
  backWithinMs: 5_000,
  ground: onTools,
  missing: () => (findTools() === null ? missingTools : null),
  /** A standby that follows the primary, and has all of it. */
  async arrange(stage) {
    const tools = findTools()
    const user = serverUser()
    const dataDir = join(stage.directory, 'standby')
    await mkdir(dataDir, { mode: 0o700 })
    if (user !== undefined) await chown(dataDir, user.uid, user.gid)
    const replication = stage.leftovers.use(await startProxy(stage.server.port))
    const source = stage.url('postgres', replication.port)
    await tools?.run('pg_basebackup', '--checkpoint=fast', '-X', 'stream', '-R', '-D', dataDir, '-d', source)
    const standby = stage.leftovers.use(await Server.start(dataDir, tools?.home))
    pairs.set(stage, { standby, replication })
    await until('the standby follows', () =>
      stage.withClient(
        async (client) => (await client.query(`select from pg_stat_replication where state = 'streaming'`)).rowCount === 1,
      ),
    )
  },
  /** Promotes the standby; what led to the primary leads there now. Resolves when it takes writes. */
  async heal(stage) {
    const { standby } = pairOf(stage)
    stage.server = standby
    await stage.withClient(async (client) => {
      await client.query('select pg_promote(true, 30)')
      // Of what was settled after the newest checkpoint that it has, the promoted primary knows nothing: it goes out again.
      const { rows } = await client.query<{ at: Date | null }>('select max(at) as at from postrider.checkpoints')
      const known = rows[0]?.at?.getTime() ?? 0
      stage.allowed += stage.journal.receipts.filter(({ at }) => at >= known).length
    })
    for (const way of stage.crew.ways) way.lead(standby.port)
    await until('the promoted primary takes writes', () =>
      stage.withClient(
        async (client) =>
          (await client.query<{ standby: boolean }>('select pg_is_in_recovery() as standby')).rows[0]?.standby === false,
      ),
    )
  },
} as const satisfies Partial<Fault>

export const failover: readonly Fault[] = [
  {
    ...promoted,
    name: 'failover-clean',
    does: 'the primary is stopped, its standby has all of it and is promoted',
    attacks: [...road, 'fence', 'back at once'],
    act: ({ server }) => server.stop('fast'),
  },
  {
    ...promoted,
    name: 'failover-tail-lost',
    does: 'the primary dies with an end of its log that the standby never got; the standby is promoted',
    attacks: [...road, 'fence', 'back at once'],
    losesHistory: true,
    async act(stage, random) {
      pairOf(stage).replication.part()
      await sleep(random.int(50, 1_000))
      await stage.server.stop('immediate')
    },
  },
]

function pairOf(stage: Stage): Pair {
  const pair = pairs.get(stage)
  if (pair === undefined) throw new Error('there is no standby')
  return pair
}
