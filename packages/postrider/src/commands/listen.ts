import type { Command } from 'commander'
import type { Mischief } from '../listen/misbehave.ts'
import { collect, duration, share, wait, wholeNumber, withCommon } from '../options.ts'
import type { ListenFlags } from '../run/listen.ts'

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
    .action(async (flags: ListenFlags, command: Command) => {
      if (flags.gone && (flags.fail !== undefined || flags.status !== undefined))
        command.error('error: --gone says it all; leave out --fail and --status')
      const mischief = mischiefOf(flags)
      if (mischief.drop + mischief.timeout + mischief.fail > 1 || mischief.fail < 0) {
        command.error('error: --drop, --timeout and --fail are more than 100% together')
      }
      await (await import('../run/listen.ts')).listen(flags, mischief)
    })
}

/** With `--gone`, or with `--status` alone, every request that is answered is answered so. */
function mischiefOf({ gone, status, fail, drop, timeout }: ListenFlags): Mischief {
  const always = gone === true || (status !== undefined && fail === undefined)
  return { drop, timeout, fail: always ? 1 - drop - timeout : (fail ?? 0) }
}
