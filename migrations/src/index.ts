export { describeSchema, isMade, schemaDrift, type Drift } from './drift.ts'
export { migrations, roles, type Migration } from './files.ts'
export { migrate, migrationPlan, migrationStatus, type MigrateOptions, type MigrationStatus, type Session } from './migrate.ts'
