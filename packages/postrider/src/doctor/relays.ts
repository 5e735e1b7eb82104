import { wordDuration } from '../table.ts'
import { version as ownVersion } from '../version.ts'
import { fail, ok, warn, wordList, type Check } from './check.ts'

/** A relay that has not been seen for so long is gone: three times the longest pause between two signs of life. */
const alive = `seen_at > clock_timestamp() - interval '30 seconds'`

export const relays: Check = {
  name: 'relays',
  needsSchema: true,
  async look({ ask }) {
    const rows = await ask<{ sink: string }>(
      `select s.name as sink from postrider.sinks as s
       where s.state = 'active' and not s.fans_out
         and not exists (select from postrider.relays as r where coalesce(s.family, s.name) = any(r.sinks) and r.${alive})
       order by s.name`,
    )
    const [count] = await ask<{ n: number }>(`select count(*)::int as n from postrider.relays where ${alive}`)
    if (count?.n === 0) return fail('no relay is alive: nothing is delivered', 'postrider start')
    if (rows.length > 0) {
      return fail(
        `no relay has ${wordList(rows.map(({ sink }) => sink))}`,
        `Put it into the configuration of a relay; if it is not wanted any more: postrider sinks remove ${rows[0]?.sink} --reason …`,
      )
    }
    return ok(count?.n === 1 ? 'one is alive; a second one would take over at once when it dies' : `${count?.n ?? 0} are alive`)
  },
}

export const versions: Check = {
  name: 'versions',
  needsSchema: true,
  async look({ ask }) {
    const rows = await ask<{ version: string; names: string[] }>(
      `select version, array_agg(name order by name) as names from postrider.relays where ${alive} group by version order by version`,
    )
    const others = rows.filter(({ version }) => version !== ownVersion)
    if (rows.length > 1) {
      return warn(
        `relays of different versions: ${wordList(rows.map(({ version, names }) => `${version} (${wordList(names)})`))}`,
        'Finish the rollout: let all relays have the newest.',
      )
    }
    return others.length > 0
      ? warn(`relays have version ${others[0]?.version}, this program ${ownVersion}`, 'Bring the older one up to date.')
      : ok(`all have version ${ownVersion}`)
  },
}

export const progress: Check = {
  name: 'progress',
  needsSchema: true,
  async look({ ask, thresholds }) {
    const rows = await ask<{ sink: string; lane: number; seconds: number; relay: string | null }>(
      `select c.sink, c.lane, extract(epoch from clock_timestamp() - c.at)::float8 as seconds, r.name as relay
       from postrider.cursors as c
       join postrider.sinks as s on s.name = c.sink
       left join postrider.circuits as k on k.sink = c.sink
       left join postrider.relays as r on r.id = c.relay
       where s.state = 'active' and coalesce(k.state, 'closed') = 'closed' and coalesce(k.quiet_until, '-infinity') < clock_timestamp()
         and c.relay is not null and c.leased_until > clock_timestamp()
         and c.at < clock_timestamp() - $1 * interval '1 second'
         and exists (
           select from postrider.look_ahead(c.sink, 1000, c.lane) as a
           where a.wanted and a.created_at < clock_timestamp() - $1 * interval '1 second')
       order by c.at`,
      [thresholds.stuckSeconds],
    )
    const [worst] = rows
    if (worst === undefined) return ok('every lane that is carried comes on')
    return fail(
      `${wordList(rows.map(({ sink, lane }) => `lane ${lane} of ${sink}`))} has a backlog and has not moved for ${wordDuration(worst.seconds * 1_000)}`,
      `Look into the log of relay ${worst.relay ?? '?'}; when it is stopped, another takes the lane over.`,
    )
  },
}

export const careful: Check = {
  name: 'careful lanes',
  needsSchema: true,
  async look({ ask }) {
    const rows = await ask<{ sink: string; lane: number; suspect: string | null; strikes: number; event: string | null }>(
      `select l.sink, l.lane, l.suspect, l.strikes, (select e.id from postrider.events as e where e.position = l.suspect limit 1) as event
       from postrider.lanes as l where l.careful > 0 order by l.suspect is null, l.strikes desc, l.sink, l.lane`,
    )
    const [worst] = rows
    if (worst === undefined) return ok('no relay has died with a lane in hand lately')
    if (worst.suspect === null) {
      return warn(
        `a relay died while it carried ${wordList(rows.map(({ sink, lane }) => `lane ${lane} of ${sink}`))}; these go on in small steps`,
        'Look into the log of the relay that died, for memory above all.',
      )
    }
    return fail(
      `relays die while they carry event ${worst.event ?? worst.suspect} (lane ${worst.lane} of ${worst.sink}, ${worst.strikes} so far)`,
      worst.event === null ? 'Look into the logs of the relays that died.' : `postrider events get ${worst.event}`,
    )
  },
}
