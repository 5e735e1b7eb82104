import { withMode } from '../mode.ts'
import { wordDuration } from '../table.ts'
import { fail, ok, warn, wordList, type Check } from './check.ts'

export const circuits: Check = {
  name: 'circuits',
  needsSchema: true,
  async look({ ask }) {
    const rows = await ask<{ sink: string; kind: string; seconds: number; error: string }>(
      `select c.sink, s.kind, extract(epoch from clock_timestamp() - coalesce(c.failing_since, c.opened_at))::float8 as seconds,
         concat_ws(': ', c.error_code, c.error) as error
       from postrider.circuits as c join postrider.sinks as s on s.name = c.sink
       where c.state <> 'closed' and s.state = 'active' order by 2 desc nulls last`,
    )
    if (rows.length === 0) return ok('no destination is down')
    return warn(
      rows.length === 1
        ? `${withMode(rows[0]?.sink ?? '', rows[0]?.kind ?? '')} has failed for ${wordDuration((rows[0]?.seconds ?? 0) * 1_000)}: ${rows[0]?.error}`
        : `${rows.length} destinations are down: ${wordList(rows.map(({ sink, kind, seconds }) => `${withMode(sink, kind)} for ${wordDuration(seconds * 1_000)}`))}`,
      'Mend the destination: it is probed by itself, and its events wait until then.',
    )
  },
}

export const inactive: Check = {
  name: 'sinks',
  needsSchema: true,
  async look({ ask, thresholds }) {
    const rows = await ask<{
      sink: string
      kind: string
      state: string
      by: string | null
      reason: string | null
      seconds: number
    }>(
      `select name as sink, kind, state, state_by as by, state_reason as reason, extract(epoch from clock_timestamp() - state_since)::float8 as seconds
       from postrider.sinks
       where state in ('disabled', 'gone')
         or (state = 'paused' and state_until is null and state_since < clock_timestamp() - $1 * interval '1 second')
       order by state_since`,
      [thresholds.pausedSeconds],
    )
    const [first] = rows
    if (first === undefined) return ok('none is stopped for long')
    const words = rows.map(({ sink, kind, state, by, reason, seconds }) =>
      [
        `${withMode(sink, kind)} is ${state} for ${wordDuration(seconds * 1_000)}`,
        ...(by === null ? [] : [`by ${by}`]),
        ...(reason === null ? [] : [`(${reason})`]),
      ].join(' '),
    )
    return warn(wordList(words), `postrider resume ${first.sink}`)
  },
}

export const deadLetters: Check = {
  name: 'dead letters',
  needsSchema: true,
  async look({ ask }) {
    const [row] = await ask<{ lately: number; all: number; oldest: number | null }>(
      `select
         (select count(*)::int from (
           select from postrider.deliveries where state = 'dead' and since > clock_timestamp() - interval '1 hour' limit 10001) as bounded) as lately,
         (select count(*)::int from (select from postrider.deliveries where state = 'dead' limit 10001) as bounded) as all,
         (select extract(epoch from clock_timestamp() - since)::float8 from postrider.deliveries where state = 'dead' order by since limit 1) as oldest`,
    )
    const { lately = 0, all = 0, oldest = null } = row ?? {}
    const count = (n: number): string => (n > 10_000 ? 'more than 10,000' : n.toLocaleString('en'))
    if (all === 0) return ok('there are none')
    const message = `there are ${count(all)}, the oldest for ${wordDuration((oldest ?? 0) * 1_000)}; ${count(lately)} came in the last hour`
    return lately > 0 ? warn(message, 'postrider dead groups') : ok(message)
  },
}

export const blockedKeys: Check = {
  name: 'blocked keys',
  needsSchema: true,
  async look({ ask }) {
    const rows = await ask<{ sink: string; key: string; blocked: string; head: string }>(
      `select sink, key, blocked::text as blocked, head_event_id::text as head
       from (select * from postrider.blocked_keys limit 1000) as heads where head_state = 'dead' order by since`,
    )
    const [oldest] = rows
    if (oldest === undefined) return ok('no key waits behind a dead letter')
    return warn(
      `${rows.length === 1 ? 'one key waits' : `${rows.length} keys wait`} behind a dead letter: ${wordList(rows.map(({ sink, key }) => `${key} at ${sink}`))}`,
      `postrider dead retry ${oldest.head}, or postrider keys blocked for all of them`,
    )
  },
}

export const staleOperations: Check = {
  name: 'operations',
  needsSchema: true,
  async look({ ask, thresholds }) {
    const rows = await ask<{ id: string; kind: string; state: string; error: string | null }>(
      `select id::text as id, kind, state, error from postrider.operations
       where (state = 'failed' and finished_at > clock_timestamp() - interval '1 day')
         or (state in ('pending', 'running') and not waiting and coalesce(advanced_at, created_at) < clock_timestamp() - $1 * interval '1 second')
       order by id desc limit 100`,
      [thresholds.stuckSeconds],
    )
    const failed = rows.filter(({ state }) => state === 'failed')
    const [first] = failed
    if (first !== undefined) return warn(`${first.kind} ${first.id} failed: ${first.error}`, `postrider ops list`)
    return rows.length === 0
      ? ok('none has failed or stands still')
      : fail(`${wordList(rows.map(({ kind, id }) => `${kind} ${id}`))} does not come on`, `postrider ops watch ${rows[0]?.id}`)
  },
}
