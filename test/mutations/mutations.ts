/** A deliberate break of the core, and the tests that must not pass with it. */
export interface Mutation {
  readonly name: string
  /** The rule that is broken. */
  readonly breaks: string
  readonly file: string
  /** Stands once in the file. */
  readonly from: string
  readonly to: string
  /** Project of vitest. */
  readonly project: 'postgres 18' | 'unit'
  readonly tests: readonly string[]
}

export const mutations: readonly Mutation[] = [
  {
    name: 'no-fence',
    breaks: 'a relay that has lost its lane collides with the next owner',
    file: 'packages/relay/src/settle.ts',
    from: 'case when k.fence = ${String(lane.fence)}::bigint and k.relay = ${relay}::uuid then ${String(fence)}::bigint else k.fence end',
    to: 'coalesce(k.fence, 0) + 1',
    project: 'postgres 18',
    tests: ['packages/relay/test/fence.test.ts'],
  },
  {
    name: 'lease-ignored',
    breaks: 'a lane is taken over only when its lease has run out',
    file: 'packages/relay/src/leases.ts',
    from: 'leased_until < clock_timestamp() and lane <> all',
    to: "leased_until < 'infinity' and lane <> all",
    project: 'postgres 18',
    tests: ['test/lanes.test.ts', 'packages/relay/test/fence.test.ts', 'test/pause.test.ts'],
  },
  {
    name: 'order-by-transaction',
    breaks: 'a page is in the order of positions',
    file: 'packages/relay/src/page-rows.ts',
    from: 'rows.sort((a, b) => (isBefore(a, b) ? -1 : 1))',
    to: 'rows.slice()',
    project: 'postgres 18',
    tests: ['packages/relay/test/order.test.ts', 'packages/relay/test/backlog.test.ts'],
  },
  {
    name: 'in-progress-skipped',
    breaks: 'what was open when the cursor was taken is looked at again',
    file: 'packages/relay/src/claim.ts',
    from: 'const found = xip.length === 0 ? newer : sql`(${newer} union all ${older})`',
    to: 'const found = xip.length >= 0 ? newer : sql`(${newer} union all ${older})`',
    project: 'postgres 18',
    tests: ['packages/relay/test/order.test.ts', 'packages/relay/test/interleavings.test.ts'],
  },
  {
    name: 'window-from-cursor',
    breaks: 'a window begins below all that it may hold, not at the cursor',
    file: 'packages/relay/src/claim.ts',
    from: 'return BigInt(rows[0]?.start ?? 0)',
    to: 'return floor > 0n ? floor : BigInt(rows[0]?.start ?? 0)',
    project: 'postgres 18',
    tests: ['packages/relay/test/backlog.test.ts', 'packages/relay/test/interleavings.test.ts'],
  },
  {
    name: 'window-read-twice',
    breaks: 'a window leaves out what the cursor had passed before it',
    file: 'packages/relay/src/claim.ts',
    from: 'and not pg_visible_in_snapshot(e.xid, ${done}::pg_snapshot)',
    to: 'and pg_visible_in_snapshot(e.xid, ${target}::pg_snapshot)',
    project: 'postgres 18',
    tests: ['packages/relay/test/backlog.test.ts', 'packages/relay/test/interleavings.test.ts'],
  },
  {
    name: 'settled-before-delivered',
    breaks: 'the cursor moves when events have been delivered',
    file: 'packages/relay/src/carry.ts',
    from: '  const carriage = inHand.length === 0 ? nothing : await carryTogether(lane, road, inHand)',
    to: `  await settlePage(lane, road, claimed.page, nothing)
  const carriage = inHand.length === 0 ? nothing : await carryTogether(lane, road, inHand)`,
    project: 'postgres 18',
    tests: ['test/crash.test.ts'],
  },
  {
    name: 'overtaken-in-trouble',
    breaks: 'later events of a key wait behind one in trouble',
    file: 'packages/relay/src/carry.ts',
    from: 'event.key !== null && troubled.has(event.key)',
    to: 'event.key === null && troubled.has(event.id)',
    project: 'postgres 18',
    tests: ['packages/relay/test/trouble.test.ts'],
  },
  {
    name: 'blocked-forgotten',
    breaks: 'an event that waits behind its key is written down before the cursor passes it',
    file: 'packages/relay/src/settlement.ts',
    from: "if (carried.row !== 'blocked') row(carried, 'blocked')",
    to: "if (carried.row === 'blocked') row(carried, 'blocked')",
    project: 'postgres 18',
    tests: ['packages/relay/test/trouble.test.ts'],
  },
  {
    name: 'release-forgotten',
    breaks: 'a key goes on when what was in its way has gone',
    file: 'packages/relay/src/settle.ts',
    from: 'if (keys.length > 0) await sql`select ${database.schema}.release_heads',
    to: 'if (keys.length < 0) await sql`select ${database.schema}.release_heads',
    project: 'postgres 18',
    tests: ['packages/relay/test/trouble.test.ts'],
  },
  {
    name: 'throttling-counts',
    breaks: 'an answer that asks to slow down spends no attempt',
    file: 'packages/relay/src/judge.ts',
    from: "{ kind: 'retry', delayMs, counts: false, error }",
    to: "{ kind: 'retry', delayMs, counts: true, error }",
    project: 'unit',
    tests: ['packages/relay/test/judge.unit.test.ts'],
  },
  {
    name: 'raised-floor',
    breaks: 'a window that ends far before what has come since passes over none of it',
    file: 'packages/relay/src/claim.ts',
    from: 'position: next - 1n, raised: true }',
    to: 'position: next - 1n }',
    project: 'postgres 18',
    tests: ['packages/relay/test/backlog.test.ts'],
  },
  {
    name: 'silent-gate',
    breaks: 'a commit wakes a relay that sleeps',
    file: 'migrations/0002_emit.sql',
    from: `    perform pg_notify('postrider', coalesce(written_bucket::text, ''));`,
    to: '    null;',
    project: 'postgres 18',
    tests: ['migrations/test/transactions.test.ts'],
  },
  {
    name: 'gate-half-closed',
    breaks: 'a relay falls asleep only when no transaction that has emitted is open',
    file: 'migrations/0002_emit.sql',
    from: 'for nr in 1..7 loop',
    to: 'for nr in 1..0 loop',
    project: 'postgres 18',
    tests: ['migrations/test/transactions.test.ts'],
  },
  {
    name: 'unread-segment-emptied',
    breaks: 'a segment is emptied when every cursor has passed it',
    file: 'migrations/0006_segments.sql',
    from: "segment.state := case when segment.why is null then 'recyclable' else 'waiting' end;",
    to: "segment.state := 'recyclable';",
    project: 'postgres 18',
    tests: ['migrations/test/segments.test.ts'],
  },
  {
    name: 'taken-twice',
    breaks: 'an event takes effect once at a consumer',
    file: 'packages/inbox/src/once.ts',
    from: 'return rows.length === 1',
    to: 'return rows.length <= 1',
    project: 'postgres 18',
    tests: ['packages/inbox/test/once.test.ts'],
  },
]
