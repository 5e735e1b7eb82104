import type { Command } from 'commander'
import { withActor } from '../actor.ts'
import { duration, withDatabase } from '../options.ts'
import type { PauseFlags, ResumeFlags } from '../run/pause.ts'
import { everything, whence } from '../whence.ts'

export function addPause(program: Command): void {
  withActor(withDatabase(program.command('pause')))
    .description('send nothing more to a sink; its events wait, and nothing is lost')
    .argument('[sink]', 'its name; of one with endpoints, all of them; or <sink>/<endpoint>')
    .option('--all', 'every sink')
    .option('--for <time>', 'go on by itself after this time, such as 30m or 2h', duration)
    .requiredOption('--reason <text>', 'why; everybody sees it')
    .action(async (sink: string | undefined, flags: PauseFlags, command: Command) => {
      requireOne(sink, flags, command)
      await (await import('../run/pause.ts')).pause(sink, flags)
    })
}

export function addResume(program: Command): void {
  withActor(withDatabase(program.command('resume')))
    .description('let a sink go on that is paused, disabled or gone')
    .argument('[sink]', 'its name; of one with endpoints, all that are paused; or <sink>/<endpoint>')
    .option('--all', 'every sink that is paused')
    .option(
      '--from <where>',
      'with all that has come meanwhile (all), with nothing of it (skip), or with what was written from a time on',
      whence,
      everything,
    )
    .option('--reason <text>', 'why; kept in the record')
    .option('-y, --yes', 'do not ask before events are left out')
    .action(async (sink: string | undefined, flags: ResumeFlags, command: Command) => {
      requireOne(sink, flags, command)
      await (await import('../run/pause.ts')).resume(sink, flags)
    })
}

function requireOne(sink: string | undefined, { all }: { readonly all?: true }, command: Command): void {
  if ((sink === undefined) !== (all === true)) command.error('error: give the name of a sink, or --all')
}
