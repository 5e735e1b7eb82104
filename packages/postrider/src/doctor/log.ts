import { fail, ok, warn, wordList, type Check } from './check.ts'

export const cluster: Check = {
  name: 'cluster',
  needsSchema: true,
  async look({ ask }) {
    const [row] = await ask<{ moved: boolean }>('select postrider.is_moved() as moved')
    return row?.moved
      ? fail(
          'this database was restored from another one: its cursors mean nothing here until they are anchored',
          'Start a relay: the first one anchors them. Until then nothing is delivered.',
        )
      : ok('the cursors belong to this cluster')
  },
}

export const sequence: Check = {
  name: 'sequence',
  needsSchema: true,
  async look({ ask }) {
    const [row] = await ask<{ name: string; cache: string; used: number }>(
      `select pg_get_serial_sequence('postrider.events', 'position') as name, s.seqcache::text as cache,
         coalesce((select max(e.position) from postrider.events as e), 0)::float8 / s.seqmax as used
       from pg_sequence as s where s.seqrelid = pg_get_serial_sequence('postrider.events', 'position')::regclass`,
    )
    if (row === undefined)
      return fail(
        'the positions of events have no sequence',
        'Bring it back as it was: postrider migrate plan --sql --offline prints how.',
      )
    if (row.cache !== '1') {
      return fail(
        `the sequence of positions has a cache of ${row.cache}: positions do not follow the order of inserts`,
        `alter sequence ${row.name} cache 1;`,
      )
    }
    return row.used > 0.5
      ? warn('more than half of all positions are used up', 'Tell the authors of Postrider.')
      : ok('positions follow the order of inserts')
  },
}

export const segments: Check = {
  name: 'segments',
  needsSchema: true,
  async look({ ask }) {
    const rows = await ask<{ slot: number; state: string; why: string | null; overdue: boolean }>(
      `select s.slot, s.state, s.why,
         coalesce(s.state = 'writing' and s.oldest < clock_timestamp() - r.width * (r.slots - 1), false) as overdue
       from postrider.segments as s cross join postrider.ring as r order by s.slot`,
    )
    const overdue = rows.find((row) => row.overdue)
    if (overdue !== undefined) {
      return fail(
        `segment ${overdue.slot} was not emptied before it was written again: old events stay, and the log grows`,
        'See why others wait: select slot, state, why from postrider.segments; a relay empties them when nobody needs them any more.',
      )
    }
    const waiting = rows.filter(({ state }) => state === 'waiting')
    if (waiting.length > 0) {
      return warn(
        waiting.length === 1
          ? `segment ${waiting[0]?.slot} cannot be emptied: ${waiting[0]?.why}`
          : `${waiting.length} segments cannot be emptied: ${waiting[0]?.why}`,
        'Let the sinks that it names go on, or give up what they wait for; until then the log grows.',
      )
    }
    const idle = rows.filter(({ state }) => state === 'recyclable')
    if (idle.length > 1) {
      return warn(
        `segments ${wordList(idle.map(({ slot }) => String(slot)))} could be emptied, and no relay does`,
        'postrider start',
      )
    }
    return ok('nothing keeps a segment of the log from being emptied')
  },
}
