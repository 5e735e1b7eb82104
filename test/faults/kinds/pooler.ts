import { spawnSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { freePorts } from '../../kafka/real/ports.ts'
import { serverUser } from '../../postgres/binaries.ts'
import { until } from '../../until.ts'
import { road, type Fault } from '../fault.ts'
import type { Kept } from '../../kafka/real/keeper.ts'
import type { Stage } from '../stage.ts'

/** From here on it can carry prepared statements, which relays need. */
const leastForRelays = 1.21

interface Pooler {
  readonly port: number
  start(): Promise<void>
  kill(): Promise<void>
}

const poolers = new WeakMap<Stage, Pooler>()

export const pooler: Fault = {
  name: 'pooler-killed',
  does: 'writers reach the database through PgBouncer in transaction mode (relays too, from 1.21 on), which gets SIGKILL',
  attacks: [...road, 'back at once'],
  blows: 2,
  lastsMs: [100, 1_000],
  backWithinMs: 8_000,
  missing: () => (version() === null ? 'PgBouncer is not installed' : null),
  async arrange(stage) {
    const one = await openPooler(stage)
    poolers.set(stage, one)
    await one.start()
    stage.writersUrl = () => stage.url('postgres', one.port)
    if ((version() ?? 0) >= leastForRelays) stage.pooledBy = one.port
  },
  act: (stage) => poolers.get(stage)?.kill() ?? Promise.resolve(),
  heal: (stage) => poolers.get(stage)?.start() ?? Promise.resolve(),
}

function version(): number | null {
  const { stdout, status } = spawnSync('pgbouncer', ['--version'], { encoding: 'utf8' })
  const found = status === 0 ? /PgBouncer (\d+)\.(\d+)/.exec(stdout) : null
  return found === null ? null : Number(`${found[1]}.${found[2]}`)
}

async function openPooler(stage: Stage): Promise<Pooler> {
  const [port = 0] = await freePorts(1)
  const file = (name: string): string => join(stage.directory, name)
  const users = file('users.txt')
  await writeFile(users, '"postgres" ""\n"faults_relay" ""\n', { mode: 0o644 })
  await writeFile(
    file('pgbouncer.ini'),
    `[databases]
* = host=127.0.0.1 port=${stage.server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = trust
auth_file = ${users}
pool_mode = transaction
default_pool_size = 8
ignore_startup_parameters = extra_float_digits
${(version() ?? 0) >= leastForRelays ? 'max_prepared_statements = 200' : ''}
`,
    { mode: 0o644 },
  )
  const user = serverUser() === undefined ? [] : ['-u', 'nobody']
  let running: Kept | undefined
  return {
    port,
    async start() {
      running = await stage.theatre.keeper.start('pgbouncer', ['-q', ...user, file('pgbouncer.ini')], file('pgbouncer.log'))
      await until('the pooler answers', () =>
        stage
          .withClient((client) => client.query('select 1'), port)
          .then(
            () => true,
            () => false,
          ),
      )
    },
    async kill() {
      if (running === undefined) return
      process.kill(running.pid, 'SIGKILL')
      await running.end()
    },
  }
}
