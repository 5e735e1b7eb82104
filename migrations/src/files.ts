import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { PostriderError } from '@postrider/schema'

/** One migration: a SQL file of this package, with the name of the schema put in. */
export interface Migration {
  /** File name without its ending, such as `0001_log`; migrations run in the order of their names. */
  readonly name: string
  readonly sql: string
  /** SHA-256 of the file as released, before the schema name is put in. */
  readonly checksum: string
}

const folder = new URL('../', import.meta.url)

/** The migrations of this release, in order. `schema` (default `postrider`) must be a plain lower-case identifier. */
export function migrations(schema: string = 'postrider'): Migration[] {
  return readdirSync(folder)
    .filter((file) => /^\d{4}_.*\.sql$/.test(file))
    .sort()
    .map((file) => read(file, schema))
}

/** The optional roles (writer, relay, viewer) and their grants. */
export function roles(schema: string = 'postrider'): Migration {
  return read('roles.sql', schema)
}

function read(file: string, schema: string): Migration {
  const sql = readFileSync(new URL(file, folder), 'utf8')
  return {
    name: file.slice(0, -'.sql'.length),
    // `postrider-` is the prefix of our headers, whatever the schema is called.
    sql: sql.replaceAll(/\bpostrider\b(?!-)/g, checkedName(schema)),
    checksum: createHash('sha256').update(sql).digest('hex'),
  }
}

/** Refuses a schema name that would need quoting. */
export function checkedName(schema: string): string {
  if (!/^[a-z_][a-z0-9_]{0,40}$/.test(schema)) {
    throw new PostriderError(
      'invalid_options',
      `schema name "${schema}" is not a plain lower-case identifier of at most 41 letters, digits and _`,
      { path: 'schema', actual: schema },
    )
  }
  return schema
}
