import { testDatabase } from '@postrider/test/postgres'
import { expect, test } from 'vitest'

test('the snapshot of a cutover counts its own transaction as one that has not committed, also when later ones have', async () => {
  await using db = await testDatabase()
  const [own, other] = [await db.client(), await db.client()]
  await own.query('begin')
  const { rows: ids } = await own.query<{ xid: string }>('select pg_current_xact_id()::text as xid')
  const { xid } = ids.at(0)!
  const isVisible = async (snapshot: string): Promise<unknown> =>
    (await own.query<{ visible: boolean }>(`select pg_visible_in_snapshot($1::xid8, ${snapshot}) as visible`, [xid])).rows.at(0)!
      .visible
  expect(await isVisible('postrider.snapshot_without_own()')).toBe(false)
  // A later one commits.
  await other.query('select pg_current_xact_id()')
  expect(await isVisible('pg_current_snapshot()')).toBe(true)
  expect(await isVisible('postrider.snapshot_without_own()')).toBe(false)

  const [left, right] = ['pg_current_snapshot()', 'postrider.snapshot_without_own()']
  const { rows } = await own.query(
    `select pg_snapshot_xmax(${left}) = pg_snapshot_xmax(${right}) as same_end,
       array(select pg_snapshot_xip(${right}) except select pg_snapshot_xip(${left}))::text[] as more`,
  )
  expect(rows).toEqual([{ same_end: true, more: [xid] }])
})
