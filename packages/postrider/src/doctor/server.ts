import { wordDuration } from '../table.ts'
import { fail, ok, warn, type Check } from './check.ts'

const leastVersion = 140_000
/** Deadlines of webhooks and the tolerance of their receivers (five minutes) are by the clock of this machine. */
const skewSeconds = { warn: 30, fail: 120 }

export const primary: Check = {
  name: 'primary',
  needsSchema: false,
  async look({ ask }) {
    const [row] = await ask<{ standby: boolean }>('select pg_is_in_recovery() as standby')
    return row?.standby
      ? fail('the database is a standby: it takes no writes', 'Give the address of the primary, or of all hosts.')
      : ok('the database is a primary')
  },
}

export const serverVersion: Check = {
  name: 'version',
  needsSchema: false,
  async look({ ask }) {
    const [row] = await ask<{ number: number; version: string }>(
      `select current_setting('server_version_num')::int as number, current_setting('server_version') as version`,
    )
    if (row === undefined || row.number < leastVersion) {
      return fail(`PostgreSQL ${row?.version ?? '?'} is too old`, 'Upgrade the server to PostgreSQL 14 or newer.')
    }
    return ok(`PostgreSQL ${row.version}`)
  },
}

export const durability: Check = {
  name: 'durability',
  needsSchema: false,
  async look({ ask }) {
    const off = await ask<{ name: string; reset: boolean }>(
      `select name, context = 'user' as reset from pg_settings
       where name in ('fsync', 'full_page_writes', 'synchronous_commit') and setting = 'off' order by name`,
    )
    if (off.length === 0) return ok('what is committed survives a crash')
    const names = off.map(({ name }) => name)
    return warn(
      `${names.join(', ')} off: a crash can lose events that were committed, or deliver some again`,
      names.map((name) => `alter system set ${name} = on;`).join(' ') + ' select pg_reload_conf();',
    )
  },
}

export const connections: Check = {
  name: 'connections',
  needsSchema: false,
  async look({ ask }) {
    const [row] = await ask<{ used: number; most: number }>(
      `select (select count(*)::int from pg_stat_activity where backend_type = 'client backend') as used,
         current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int as most`,
    )
    const { used, most } = row ?? { used: 0, most: 0 }
    const message = `${used} of ${most} connections are in use`
    const fix = 'Raise max_connections, lower database.connections, or put a pooler before the other services.'
    if (used >= most * 0.95) return fail(message, fix)
    return used >= most * 0.8 ? warn(message, fix) : ok(message)
  },
}

export const clock: Check = {
  name: 'clock',
  needsSchema: false,
  async look({ ask }) {
    const before = Date.now()
    const [row] = await ask<{ now: number }>('select extract(epoch from clock_timestamp())::float8 * 1000 as now')
    const between = (before + Date.now()) / 2
    const skewMs = Math.abs((row?.now ?? 0) - between)
    const message = `the clocks of this machine and of the database differ by ${wordDuration(skewMs)}`
    const fix = 'Let both follow the same time servers (chrony, systemd-timesyncd).'
    if (skewMs > skewSeconds.fail * 1_000) return fail(message, fix)
    return skewMs > skewSeconds.warn * 1_000 ? warn(message, fix) : ok(message)
  },
}
