import type { Command } from 'commander'
import { withActor } from '../../actor.ts'
import { position, wait, wholeNumber, withDatabase } from '../../options.ts'
import type { VerifyFlags } from '../../run/graduate/verify.ts'

export function addVerify(command: Command): void {
  withActor(withDatabase(command.command('verify')))
    .description(
      'compare the log with what stands in the topics: nothing missing, altered, added or out of order; exits with 4 when something is',
    )
    .option('--to <sink>', 'the Kafka sink (default: the only one of the configuration)')
    .option('--sink <name>', 'also what this sink has acknowledged')
    .option('--from <position>', 'from this position of the log on (default: where the last comparison ended)', position)
    .option('--events <n>', 'so many events at most (default: 1,000,000)', wholeNumber(1, 10_000_000))
    .option('--deadline <time>', 'how long the sink may take to come up (default: 1m)', wait)
    .option('-w, --watch [time]', 'again and again until Ctrl-C, whatever has come meanwhile (default: 1h)', wait)
    .action(async (flags: VerifyFlags) => (await import('../../run/graduate/verify.ts')).run(flags))
}
