import { migrate, migrationPlan, migrationStatus, type MigrateOptions } from '@postrider/migrations'
import { loadDatabase } from '../config/load.ts'
import { openSession } from '../connect.ts'
import { exitCodes } from '../exit.ts'
import type { DatabaseFlags } from '../options.ts'
import { print, printJson, say, style } from '../print.ts'
import { renderTable } from '../table.ts'

export interface MigrateFlags extends DatabaseFlags {
  readonly roles?: true
  readonly sql?: true
  readonly offline?: true
  readonly check?: true
}

export async function up(flags: MigrateFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using session = await openSession(settings)
  const options: MigrateOptions = {
    schema: settings.schema,
    roles: flags.roles === true,
    onApplied: (name) => say(`applied ${name}`),
  }
  const applied = await migrate(session, options)
  if (flags.json) return printJson({ schema: settings.schema, applied, roles: flags.roles === true })
  if (applied.length === 0) say(`nothing to apply: the schema "${settings.schema}" is up to date`)
  if (flags.roles) say('the roles and their grants are in place')
}

export async function status(flags: MigrateFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await using session = await openSession(settings)
  const migrations = await migrationStatus(session, { schema: settings.schema })
  const pending = migrations.filter(({ appliedAt }) => appliedAt === null).length
  if (flags.json) printJson({ schema: settings.schema, pending, migrations })
  else {
    print(
      renderTable(migrations, [
        { title: 'migration', cell: ({ name }) => name },
        { title: 'applied', cell: ({ appliedAt }) => appliedAt?.toISOString() ?? style('yellow', 'pending') },
      ]),
    )
    if (pending > 0) say(`${pending} pending; apply with: postrider migrate up`)
  }
  if (flags.check && pending > 0) process.exitCode = exitCodes.checkFailed
}

export async function plan(flags: MigrateFlags): Promise<void> {
  if (flags.offline) {
    const schema = flags.schema === undefined ? {} : { schema: flags.schema }
    return print(await migrationPlan(null, { ...schema, roles: flags.roles === true }))
  }
  const { settings } = await loadDatabase(flags)
  await using session = await openSession(settings)
  if (flags.sql) return print(await migrationPlan(session, { schema: settings.schema, roles: flags.roles === true }))
  const pending = (await migrationStatus(session, { schema: settings.schema })).filter(({ appliedAt }) => appliedAt === null)
  if (flags.json) return printJson({ schema: settings.schema, pending: pending.map(({ name }) => name) })
  if (pending.length === 0) say(`nothing to apply: the schema "${settings.schema}" is up to date`)
  for (const { name } of pending) print(name)
}
