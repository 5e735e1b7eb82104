import { road, type Fault } from '../fault.ts'
import { until } from '../../until.ts'
import type { Stage } from '../stage.ts'

const hurt = { attacks: [...road, 'fence', 'back at once'], backWithinMs: 8_000 } as const satisfies Partial<Fault>

/** The database server itself. */
export const server: readonly Fault[] = [
  {
    ...hurt,
    name: 'server-restarted',
    does: 'the server is stopped (fast) and started again',
    blows: 2,
    lastsMs: [0, 1_000],
    act: ({ server }) => server.stop('fast'),
    heal: ({ server }) => server.startAgain(),
  },
  {
    ...hurt,
    name: 'server-crashed',
    does: 'the server is stopped without a checkpoint (immediate), and recovers from its log',
    blows: 2,
    lastsMs: [0, 1_000],
    act: ({ server }) => server.stop('immediate'),
    heal: ({ server }) => server.startAgain(),
  },
  {
    ...hurt,
    name: 'backend-killed',
    does: 'SIGKILL to a server process of a relay or a writer: the server ends all sessions and recovers',
    blows: 2,
    lastsMs: [0, 200],
    missing: () => (process.getuid?.() === 0 ? null : 'the processes of the server belong to another user'),
    async act(stage, random) {
      const pids = await stage.withClient(async (client) => {
        const { rows } = await client.query<{ pid: number }>(
          `select pid from pg_stat_activity where datname = current_database() and application_name not in ('fault', '') order by pid`,
        )
        return rows.map(({ pid }) => pid)
      })
      process.kill(random.pick(pids), 'SIGKILL')
    },
    heal: (stage) => until('the server is back', () => answers(stage)),
  },
]

async function answers(stage: Stage): Promise<boolean> {
  return await stage
    .withClient((client) => client.query('select 1'))
    .then(
      () => true,
      () => false,
    )
}
