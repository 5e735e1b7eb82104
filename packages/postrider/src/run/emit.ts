import { text as readAll } from 'node:stream/consumers'
import { PostriderError } from '@postrider/schema'
import { createWriter, event, type EmitOptions } from '@postrider/writer'
import { loadDatabase } from '../config/load.ts'
import { openDatabase } from '../connect.ts'
import type { DatabaseFlags } from '../options.ts'
import { print, printJson } from '../print.ts'

export interface EmitFlags extends DatabaseFlags {
  readonly data: string
  readonly source: string
  readonly key?: string
  readonly subject?: string
  readonly tenant?: string
  readonly id?: string
  readonly deliverAt?: string
  readonly header?: readonly (readonly [name: string, value: string])[]
}

export async function emit(type: string, flags: EmitFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  const data = parseExactly(flags.data === '-' ? await readAll(process.stdin) : flags.data)
  const writer = createWriter({ source: flags.source, schema: settings.schema, events: { [type]: event<unknown>() } })
  const options: EmitOptions = {
    id: flags.id,
    key: flags.key,
    subject: flags.subject,
    tenant: flags.tenant,
    deliverAt: flags.deliverAt,
    headers: flags.header === undefined ? undefined : Object.fromEntries(flags.header),
  }
  await using database = openDatabase(settings, 'emit')
  const id = await database.transaction((trx) => writer.emit(trx, type, data, options))
  if (flags.json) printJson({ id })
  else print(id)
}

/** `JSON.rawJSON` and the third argument of a reviver, which TypeScript does not declare yet. */
const { rawJSON } = JSON as unknown as { rawJSON(this: void, text: string): unknown }
type Reviver = (key: string, value: unknown, context: { readonly source?: string }) => unknown

/** Numbers keep every digit they were given: 9007199254740993 must not become its neighbour. */
function parseExactly(text: string): unknown {
  const exact: Reviver = (_, value, { source }) => (typeof value === 'number' && source !== undefined ? rawJSON(source) : value)
  try {
    return JSON.parse(text, exact as (key: string, value: unknown) => unknown)
  } catch (error) {
    throw new PostriderError('invalid_payload', `--data is not JSON: ${error instanceof Error ? error.message : String(error)}`, {
      path: 'payload',
    })
  }
}
