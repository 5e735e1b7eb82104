/**
 * What the snippets of the pages leave out because every service has it: its database, and its orders.
 *
 * `db` is a Kysely, `pool` a pool of `pg`, both on the database in POSTRIDER_DATABASE_URL.
 */
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'

interface Tables {
  orders: { id: string; total: number }
}

export const pool: pg.Pool = new pg.Pool({ connectionString: process.env['POSTRIDER_DATABASE_URL'] ?? '', allowExitOnIdle: true })
export const db: Kysely<Tables> = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) })

/** The table of the orders, for whoever prepares the database. */
export const ordersTable = 'create table orders (id text primary key, total numeric not null)'
