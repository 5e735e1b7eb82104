import { testDatabase } from '@postrider/test/postgres'
import { expect, test } from 'vitest'
import { runProgram, type Ended } from './program.ts'

interface Shown {
  readonly ring: Record<string, unknown>
  readonly segments: readonly { readonly slot: number; readonly state: string; readonly why: string | null }[]
}

test('migrate segments shows the log, plans a change as SQL that psql can run, makes it while everything runs, and refuses nonsense', async () => {
  await using db = await testDatabase()
  const client = await db.client()
  const run = (...args: string[]): Promise<Ended> =>
    runProgram(['migrate', 'segments', ...args], { env: { POSTRIDER_DATABASE_URL: db.url, POSTRIDER_ACTOR: 'ann' } })
  const shown = async (...args: string[]): Promise<Shown> => JSON.parse((await run('--json', ...args)).stdout) as Shown
  const day = 86_400_000

  await client.query(`select postrider.emit('{"type": "a"}')`)
  const before = await shown()
  expect(before.ring).toEqual({
    slots: 8,
    widthMs: day,
    keepMs: 6 * day,
    keepDeadMs: 90 * day,
    holdMs: 14 * day,
    passLagging: false,
  })
  expect(before.segments.map(({ state }) => state).sort()).toEqual([...Array<string>(7).fill('empty'), 'kept', 'writing'])

  const change = ['--count', '10', '--width', '1h', '--keep', '8h', '--keep-dead', '30d', '--hold', '2d', '--pass-lagging']
  const plan = await run(...change, '--dry-run')
  expect([plan.code, plan.stdout.match(/^begin;$/gm)?.length]).toEqual([0, 2])
  expect((await shown()).ring).toEqual(before.ring)
  const made = await run(...change, '--reason', 'more events')
  expect(made.code).toBe(0)
  expect(made.stderr).toContain(
    '10 segments of 1h; events are kept for 8h, dead letters for 30d; a sink that is not active is waited for 2d, an active one not at all',
  )
  const after = await shown()
  expect(after.ring).toEqual({
    slots: 10,
    widthMs: day / 24,
    keepMs: day / 3,
    keepDeadMs: 30 * day,
    holdMs: 2 * day,
    passLagging: true,
  })
  expect(after.segments).toHaveLength(11)
  expect((await run(...change, '--dry-run')).stderr).toContain('nothing to change')
  const { rows } = await client.query(`select actor, action, reason from postrider.actions`)
  expect(rows).toEqual([{ actor: 'ann', action: 'ring_changed', reason: 'more events' }])

  await using other = await testDatabase()
  await (await other.client()).query(plan.stdout)
  expect((await (await other.client()).query('select to_jsonb(r) as ring from postrider.ring as r')).rows).toEqual(
    (await client.query('select to_jsonb(r) as ring from postrider.ring as r')).rows,
  )

  for (const extra of [[], ['--dry-run']]) {
    const refused = await run('--keep', '1d', '--no-pass-lagging', ...extra)
    expect([refused.code, refused.stderr]).toEqual([
      2,
      expect.stringContaining('events cannot be kept for 1 day in 10 segments of 01:00:00') as string,
    ])
  }
  expect((await run('--count', '2')).code).toBe(2)
  expect((await shown('--no-pass-lagging')).ring['passLagging']).toBe(false)
})

test('migrate segments says which table is missing when there is none', async () => {
  await using db = await testDatabase({ migrated: false })
  const { code, stderr } = await runProgram(['migrate', 'segments'], { env: { POSTRIDER_DATABASE_URL: db.url } })
  expect([code, stderr]).toEqual([4, expect.stringContaining('Run `postrider migrate up`') as string])
})
