/**
 * Real PostgreSQL for tests. Tests of a package import this as `@postrider/test/postgres`, never by a relative path:
 * `turbo boundaries` lets no path leave its package.
 */
export { testDatabase, type TestDatabase, type TestDatabaseOptions } from './database.ts'
export { startPostgres, type PostgresOptions, type PostgresServer, type PostgresVersion } from './embedded.ts'
