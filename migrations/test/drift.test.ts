import { testDatabase } from '@postrider/test/postgres'
import { describe, expect, test } from 'vitest'
import { describeSchema, migrate, schemaDrift } from '../src/index.ts'

test('schema.txt is what the migrations make, on every version; after a change: vitest run -u migrations/test/drift', async () => {
  await using db = await testDatabase()
  const lines = await describeSchema(await db.client())
  expect(lines.length).toBeGreaterThan(200)
  await expect(`${lines.join('\n')}\n`).toMatchFileSnapshot('../schema.txt')
})

test('a migrated schema has no drift, under another name too, with another ring, and with an index of one’s own', async () => {
  await using db = await testDatabase({ migrated: false })
  const client = await db.client()
  await migrate(client, { schema: 'outbox', roles: true })
  await client.query('create index mine on outbox.events (subject)')
  await client.query(
    'create or replace function outbox.current_slot() returns smallint language sql volatile parallel safe return 1::smallint',
  )
  expect(await schemaDrift(client, { schema: 'outbox' })).toEqual([])
})

describe('drift', () => {
  test.for([
    ['an index that is missing', 'drop index postrider.events_id', 'index events_id', null],
    ['a column that is missing', 'alter table postrider.relays drop column version', 'column relays.version', null],
    [
      'a column of another type',
      'alter table postrider.relays alter version type varchar(9)',
      'column relays.version',
      'character varying(9) not null',
    ],
    ['a column that may be null', 'alter table postrider.relays alter version drop not null', 'column relays.version', 'text'],
    [
      'a default that is gone',
      'alter table postrider.relays alter seen_at drop default',
      'column relays.seen_at',
      'timestamp with time zone not null',
    ],
    ['a table that is missing', 'drop table postrider.circuits cascade', 'table circuits', null],
    ['a view that is missing', 'drop view postrider.recent_rates', 'view recent_rates', null],
    [
      'a function that is missing',
      'drop function postrider.skip_key',
      expect.stringMatching(/^function skip_key\(/) as string,
      null,
    ],
    [
      'a check that was changed',
      `alter table postrider.attempts drop constraint attempts_outcome, add constraint attempts_outcome check (outcome in ('delivered'))`,
      'constraint attempts.attempts_outcome',
      `CHECK ((outcome = 'delivered'::text))`,
    ],
    [
      'a function that was changed',
      `create or replace function postrider.tell_relays() returns void language plpgsql volatile as 'begin null; end'`,
      'function tell_relays()',
      expect.stringMatching(/^returns void v [0-9a-f]{12}$/) as string,
    ],
  ] as const)('names %s', async ([, change, object, found]) => {
    await using db = await testDatabase()
    const client = await db.client()
    await client.query(change)
    expect(await schemaDrift(client)).toContainEqual({ object, expected: expect.any(String) as string, found })
  })
})
