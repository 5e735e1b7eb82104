import { randomInt } from 'node:crypto'
import { resolve } from 'node:path'
import { PostriderError } from '@postrider/schema'
import { codeOf, readSecretFile } from '../config/refer.ts'
import type { Mischief } from '../listen/misbehave.ts'
import { startReceiver, type Delivery } from '../listen/receive.ts'
import { wordDelivery } from '../listen/word.ts'
import type { CommonFlags } from '../options.ts'
import { print, printJson, say } from '../print.ts'
import { listenForStop } from '../stop.ts'

export interface ListenFlags extends CommonFlags {
  readonly port: number
  readonly host: string
  readonly secretEnv?: readonly string[]
  readonly secretFile?: readonly string[]
  readonly fail?: number
  readonly status?: number
  readonly delay: number
  readonly timeout: number
  readonly drop: number
  readonly retryAfter?: number
  readonly gone?: true
  readonly seed?: number
}

export async function listen(flags: ListenFlags, mischief: Mischief): Promise<void> {
  const status = flags.gone ? 410 : (flags.status ?? 500)
  const seed = flags.seed ?? randomInt(2 ** 32)
  const secrets = readSecrets(flags)

  using stop = listenForStop(() => undefined)
  await using receiver = await startReceiver({
    host: flags.host,
    port: flags.port,
    secrets,
    mischief,
    seed,
    status,
    delayMs: flags.delay,
    retryAfterMs: flags.retryAfter ?? null,
    onDelivery: (delivery: Delivery) => (flags.json ? printJson(delivery) : print(wordDelivery(delivery))),
  })
  say(`listening on ${receiver.url} (seed ${seed}); end with Ctrl-C`)
  if (secrets.length === 0) say('signatures are not checked: give --secret-env or --secret-file')
  await new Promise<void>((done) => stop.gracefully.addEventListener('abort', () => done()))

  const { totals } = receiver
  if (flags.json) return printJson({ summary: totals })
  say(
    `received ${totals.received}, unique ${totals.unique}, duplicates ${totals.duplicates}, bad signatures ${totals.badSignatures}, ` +
      `misbehaved ${totals.misbehaved}, out of order ${totals.outOfOrder}`,
  )
}

/** @throws PostriderError `invalid_options` */
function readSecrets({ secretEnv = [], secretFile = [] }: ListenFlags): string[] {
  const problems: string[] = []
  const fromEnv = secretEnv.map((name) => {
    const value = process.env[name] ?? ''
    if (value === '') problems.push(`--secret-env: ${name} is not set`)
    return value
  })
  const fromFiles = secretFile.map((file) => {
    try {
      return readSecretFile(resolve(file))
    } catch (error) {
      problems.push(`--secret-file: ${file} cannot be read (${codeOf(error)})`)
      return ''
    }
  })
  if (problems.length > 0) throw new PostriderError('invalid_options', problems.join('\n'), { problems })
  return [...fromEnv, ...fromFiles]
}
