import { randomInt } from 'node:crypto'
import { resolve } from 'node:path'
import { PostriderError } from '@postrider/schema'
import type { Command } from 'commander'
import { codeOf, readSecretFile } from '../config/refer.ts'
import { startReceiver, type Delivery } from '../listen/receive.ts'
import { wordDelivery } from '../listen/word.ts'
import { collect, duration, share, wait, wholeNumber, withCommon, type CommonFlags } from '../options.ts'
import { print, printJson, say } from '../print.ts'
import { listenForStop } from '../stop.ts'

interface ListenFlags extends CommonFlags {
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

export function addListen(program: Command): void {
  const text = (value: string): string => value
  withCommon(program.command('listen'))
    .description('a receiver for local testing: checks signatures, tells duplicates, and misbehaves on request')
    .option('-p, --port <n>', 'port; 0 takes any free one', wholeNumber(0, 65_535), 4000)
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option(
      '--secret-env <name>',
      'environment variable with a secret (whsec_…, whpk_…); may be given several times',
      collect(text),
    )
    .option('--secret-file <file>', 'file with a secret; may be given several times', collect(text))
    .option('--fail <share>', 'answer so many with an error, such as 30%', share)
    .option('--status <n>', 'which error (default 500); without --fail every answer has it', wholeNumber(300, 599))
    .option('--gone', 'answer everything with 410')
    .option('--retry-after <time>', 'ask for this pause when failing, such as 2s', duration)
    .option('--delay <time>', 'wait before every answer, such as 200ms', wait, 0)
    .option('--timeout <share>', 'never answer so many', share, 0)
    .option('--drop <share>', 'cut the connection of so many', share, 0)
    .option('--seed <n>', 'misbehave in the same way again', wholeNumber(0, 2 ** 32 - 1))
    .action(listen)
}

async function listen(flags: ListenFlags, command: Command): Promise<void> {
  if (flags.gone && (flags.fail !== undefined || flags.status !== undefined))
    command.error('error: --gone says it all; leave out --fail and --status')
  const status = flags.gone ? 410 : (flags.status ?? 500)
  const always = flags.gone === true || (flags.status !== undefined && flags.fail === undefined)
  const mischief = { drop: flags.drop, timeout: flags.timeout, fail: always ? 1 - flags.drop - flags.timeout : (flags.fail ?? 0) }
  if (mischief.drop + mischief.timeout + mischief.fail > 1 || mischief.fail < 0) {
    command.error('error: --drop, --timeout and --fail are more than 100% together')
  }
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
