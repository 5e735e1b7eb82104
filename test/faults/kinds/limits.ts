import pg from 'pg'
import { road, type Fault } from '../fault.ts'
import { relayRole } from '../server.ts'
import type { Stage } from '../stage.ts'

const refused = { attacks: [...road, 'back at once'], backWithinMs: 8_000 } as const satisfies Partial<Fault>

/** So that they begin anew, under the settings of now. */
const endSessions = `select pg_terminate_backend(pid) from pg_stat_activity where usename = '${relayRole}' and datname = current_database()`

const statement = (stage: Stage, ...statements: readonly string[]): Promise<void> =>
  stage.withClient(async (client) => {
    await client.query('set default_transaction_read_only = off')
    for (const one of statements) await client.query(one)
  })

/** The database runs, and refuses. */
export const limits: readonly Fault[] = [
  outOfConnections(),
  {
    ...refused,
    name: 'statement-timeout',
    does: 'the role of the relays gets a `statement_timeout` of 1 to 5 ms, and their sessions begin anew',
    blows: 2,
    lastsMs: [300, 2_000],
    act: (stage, random) => statement(stage, `alter role ${relayRole} set statement_timeout = ${random.int(1, 5)}`, endSessions),
    heal: (stage) => statement(stage, `alter role ${relayRole} reset statement_timeout`),
  },
  {
    ...refused,
    name: 'read-only',
    does: 'the server takes no writes (`default_transaction_read_only`, by reload)',
    blows: 2,
    lastsMs: [300, 2_000],
    act: (stage) => statement(stage, 'alter system set default_transaction_read_only = on', 'select pg_reload_conf()'),
    heal: (stage) => statement(stage, 'alter system reset default_transaction_read_only', 'select pg_reload_conf()'),
  },
  {
    ...refused,
    name: 'read-only-sessions',
    does: 'sessions that relays begin meanwhile take no writes, and are not ended when new ones do again',
    blows: 2,
    lastsMs: [300, 2_000],
    act: (stage) => statement(stage, `alter role ${relayRole} set default_transaction_read_only = on`, endSessions),
    heal: (stage) => statement(stage, `alter role ${relayRole} reset default_transaction_read_only`),
  },
]

function outOfConnections(): Fault {
  const held = new WeakMap<Stage, pg.Client[]>()
  return {
    ...refused,
    name: 'out-of-connections',
    does: 'others take every connection that the server has left, and the sessions of the relays end',
    blows: 2,
    lastsMs: [300, 1_500],
    async act(stage) {
      const clients: pg.Client[] = []
      held.set(stage, clients)
      const fill = async (): Promise<void> => {
        for (;;) {
          const client = new pg.Client({ connectionString: stage.url(relayRole), application_name: 'fault' })
          client.on('error', () => {})
          try {
            await client.connect()
            clients.push(client)
          } catch (error) {
            if (error instanceof pg.DatabaseError && error.code === '53300') return
            throw error
          }
        }
      }
      await fill()
      await statement(stage, `${endSessions} and application_name <> 'fault'`)
      await fill()
    },
    async heal(stage) {
      await Promise.all((held.get(stage) ?? []).map((client) => client.end()))
    },
  }
}
