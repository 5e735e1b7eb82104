import { createReadStream } from 'node:fs'
import { PostriderError } from '@postrider/schema'
import { sql, type Transaction } from 'kysely'
import { actorOf } from '../../actor.ts'
import { loadDatabase } from '../../config/load.ts'
import { confirm } from '../../confirm.ts'
import { openDatabase } from '../../connect.ts'
import type { DatabaseFlags } from '../../options.ts'
import { printJson, say } from '../../print.ts'
import { Progress } from '../../progress.ts'
import type { Views } from '../../views.ts'

export type ImportFlags = DatabaseFlags & {
  readonly yes?: true
  readonly reason?: string
  readonly actor?: string
  readonly quiet?: true
}

/** Lines, or characters, that go to the database together. */
const batch = { lines: 200, characters: 4_000_000 } as const

interface Batch {
  readonly lines: readonly string[]
  /** Number of the first, from 1. */
  readonly first: number
}

/**
 * Puts exported letters back as dead ones, all or none. The lines go to the database as they are: it reads the numbers in
 * them as exactly as it wrote them.
 */
export async function importLetters(file: string, flags: ImportFlags): Promise<void> {
  const { settings } = await loadDatabase(flags)
  await confirm(`Put the letters of ${file === '-' ? 'the standard input' : file} back as dead letters?`, flags.yes === true)
  await using database = openDatabase(settings, 'dead import')
  using progress = new Progress('imported', { json: flags.json === true, quiet: flags.quiet === true })
  const { imported, read } = await database.transaction(async (trx) => {
    let imported = 0
    let read = 0
    for await (const { lines, first } of batchesOf(file)) {
      imported += await importBatch(trx, settings.schema, lines, first)
      read += lines.length
      progress.show({ done: read, total: null, waits: null, more: { imported } })
    }
    if (imported > 0) {
      await sql`
        insert into ${sql.ref(`${settings.schema}.actions`)} (actor, action, reason, detail)
        values (${actorOf(flags)}, 'imported', ${flags.reason ?? null}, ${JSON.stringify({ letters: imported })}::jsonb)`.execute(
        trx,
      )
    }
    return { imported, read }
  })
  progress.clear()
  if (flags.json) return printJson({ type: 'import', read, imported })
  const were = read - imported
  say(
    `${imported.toLocaleString('en')} ${imported === 1 ? 'letter is' : 'letters are'} dead letters now` +
      `${were === 0 ? '' : `; ${were.toLocaleString('en')} waited at their sink already`}. Send them: postrider dead retry`,
  )
}

async function importBatch(trx: Transaction<Views>, schema: string, lines: readonly string[], first: number): Promise<number> {
  const { rows } = await sql<{ n: number }>`
    select ${sql.ref(`${schema}.import_letters`)}(${lines}::text[], ${first}::int) as n`.execute(trx)
  return rows[0]?.n ?? 0
}

/** Lines in batches; empty ones are left out, and counted. */
async function* batchesOf(file: string): AsyncGenerator<Batch> {
  let lines: string[] = []
  let characters = 0
  let number = 0
  for await (const line of linesOf(file)) {
    number++
    const full = lines.length === batch.lines || characters > batch.characters
    // A batch is of lines that follow each other, so that each has its number.
    if (lines.length > 0 && (full || line === '')) {
      yield { lines, first: number - lines.length }
      lines = []
      characters = 0
    }
    if (line === '') continue
    lines.push(line)
    characters += line.length
  }
  if (lines.length > 0) yield { lines, first: number - lines.length + 1 }
}

/** @throws PostriderError `invalid_options` for a file that cannot be read. */
async function* linesOf(file: string): AsyncGenerator<string> {
  const input = (file === '-' ? process.stdin : createReadStream(file)).setEncoding('utf8')
  let begun = ''
  try {
    for await (const chunk of input) {
      const lines = (begun + String(chunk)).split('\n')
      begun = lines.pop() ?? ''
      for (const line of lines) yield line.trim()
    }
  } catch (error) {
    throw new PostriderError(
      'invalid_options',
      `${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
    )
  }
  yield begun.trim()
}
