import { PostriderError } from '@postrider/schema'
import { actorOf } from '../../actor.ts'
import { openDatabase } from '../../connect.ts'
import { loadFamily } from '../../endpoint/family.ts'
import type { EndpointName } from '../../endpoint/name.ts'
import type { SecretFlags } from '../../endpoint/options.ts'
import { changeEndpoint, readEndpoint, type StoredSecrets } from '../../endpoint/row.ts'
import { newSecret } from '../../endpoint/secret.ts'
import type { DatabaseFlags } from '../../options.ts'
import { print, printJson, say } from '../../print.ts'

export type RotateFlags = DatabaseFlags &
  SecretFlags & { readonly overlap: number; readonly reason?: string; readonly actor?: string }

const most = 3

export async function rotate({ sink, whole }: EndpointName, flags: RotateFlags): Promise<void> {
  const { settings, endpoints, sealer } = await loadFamily(sink, flags)
  const secret = newSecret(flags, whole, sink, sealer)
  const until = new Date(Date.now() + flags.overlap).toISOString()
  await using database = openDatabase(settings, 'endpoints rotate-secret')
  await database.transaction(async (trx) => {
    const row = await readEndpoint(trx, settings.schema, whole, true)
    const secrets = rotated(row.secrets, secret.stored, flags.overlap === 0 ? null : until, Date.now())
    await endpoints.open({ name: whole, settings: { ...row, secrets } })[Symbol.asyncDispose]()
    await changeEndpoint(
      trx,
      settings.schema,
      whole,
      { secrets },
      { actor: actorOf(flags), reason: flags.reason ?? 'a new secret' },
    )
  })
  if (flags.json) {
    return printJson({
      endpoint: whole,
      ...(secret.shown !== null && { secret: secret.shown }),
      previousUntil: flags.overlap === 0 ? null : until,
    })
  }
  say(`${whole} signs with its new secret${flags.overlap === 0 ? ' alone' : `; the old one signs too until ${until}`}.`)
  if (secret.shown === null) return
  say('The new one, which is not shown again:')
  print(secret.shown)
}

/**
 * The new secret with the former ones that still sign, newest first.
 * @throws PostriderError `invalid_endpoint` when there would be too many.
 */
export function rotated(
  { current, previous = [] }: StoredSecrets,
  next: string,
  until: string | null,
  nowMs: number,
): StoredSecrets {
  const former = until === null ? [] : current.map((secret) => ({ secret, until }))
  // With --overlap 0 what signed before the current one is as little to be trusted.
  const still = until === null ? [] : previous.filter((one) => Date.parse(one.until) > nowMs)
  const all = [...former, ...still]
  if (all.length > most) {
    throw new PostriderError(
      'invalid_endpoint',
      `${all.length} former secrets would sign, at most ${most} can: wait until ${still.map((one) => one.until).toSorted()[0]}, or give --overlap 0`,
    )
  }
  return { current: [next], ...(all.length > 0 && { previous: all }) }
}
