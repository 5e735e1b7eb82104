/** What the processes of a PostgreSQL server use, as Linux tells it in /proc; null where there is none. */
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'

/** USER_HZ, which is 100 on every Linux. */
const msOfTick = 10

/** Children that end while they are looked at would be counted twice or not at all: then all are looked at again, so often. */
const looks = 10

/** Of the postmaster and all its children; those that have ended are counted by the postmaster, which waits for them. */
export async function serverCpuMs(postmaster: number): Promise<number | null> {
  for (let look = 1; ; look++) {
    const before = await ticksOf(postmaster)
    const children = await readFile(`/proc/${postmaster}/task/${postmaster}/children`, 'utf8').catch(() => null)
    if (before === null || children === null) return null
    const pids = children.trim().split(' ').map(Number)
    const theirs = await Promise.all(pids.map(ticksOf))
    const after = await ticksOf(postmaster)
    if (after?.ended === before.ended && !theirs.includes(null)) {
      return msOfTick * theirs.reduce((sum, ticks) => sum + (ticks?.own ?? 0), after.own + after.ended)
    }
    if (look === looks) return null
    await sleep(5)
  }
}

/** Of the backends that serve connections of a name, such as `postrider bench%`: of those that are there now. */
export async function backendsCpuMs(client: pg.Client, applicationName: string): Promise<number | null> {
  const { rows } = await client.query<{ pid: number }>('select pid from pg_stat_activity where application_name like $1', [
    applicationName,
  ])
  const ticks = await Promise.all(rows.map(({ pid }) => ticksOf(pid)))
  if (ticks.every((one) => one === null)) return null
  return msOfTick * ticks.reduce((sum, one) => sum + (one?.own ?? 0), 0)
}

async function ticksOf(pid: number): Promise<{ readonly own: number; readonly ended: number } | null> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null)
  if (stat === null) return null
  // The name of the program stands in brackets and may hold anything; behind it come the fields from the third on, by proc(5).
  const [user, system, endedUser, endedSystem] = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 15)
    .map(Number) as [number, number, number, number]
  return { own: user + system, ended: endedUser + endedSystem }
}
