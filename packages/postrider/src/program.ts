import { Command } from 'commander'
import { addDead } from './commands/dead.ts'
import { addDiscard } from './commands/discard.ts'
import { addDoctor } from './commands/doctor.ts'
import { addEmit } from './commands/emit.ts'
import { addEndpoints } from './commands/endpoints.ts'
import { addEvents } from './commands/events.ts'
import { addGraduate } from './commands/graduate.ts'
import { addHealth } from './commands/health.ts'
import { addKafka } from './commands/kafka.ts'
import { addKeys } from './commands/keys.ts'
import { addListen } from './commands/listen.ts'
import { addMigrate } from './commands/migrate.ts'
import { addOps } from './commands/operations.ts'
import { addPause, addResume } from './commands/pause.ts'
import { addReplay } from './commands/replay.ts'
import { addRetry } from './commands/retry.ts'
import { addSinks } from './commands/sinks.ts'
import { addSkip } from './commands/skip.ts'
import { addStart } from './commands/start.ts'
import { addStatus } from './commands/status.ts'
import { addTail } from './commands/tail.ts'
import { beQuiet } from './print.ts'
import { version } from './version.ts'

/**
 * The commands of `postrider`, in the order in which one meets them. `commands/` says what can be typed, and refuses what
 * cannot; what a command does stands in the file of the same name in `run/`, which is loaded when it runs: a probe and a
 * `--help` do not wait for clients of databases and sinks.
 */
export function createProgram(): Command {
  const program = new Command('postrider')
    .description('The transactional outbox relay for PostgreSQL.')
    .version(version)
    .exitOverride()
    .showHelpAfterError('(--help tells more)')
    .hook('preAction', (_, action) => {
      const { quiet, color } = action.opts<{ quiet?: true; color?: boolean }>()
      if (quiet) beQuiet()
      if (color === false) process.env['NO_COLOR'] = '1'
    })
    .addHelpText('after', exitCodeHelp)
  for (const add of [addMigrate, addStart, addStatus, addEmit, addEvents, addDead, addListen, addHealth]) add(program)
  for (const add of [addDoctor, addTail, addSinks, addPause, addResume]) add(program)
  for (const add of [addEndpoints, addRetry, addReplay, addDiscard, addSkip, addOps, addKeys]) add(program)
  for (const add of [addKafka, addGraduate]) add(program)
  return program
}

const exitCodeHelp = `
Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 nothing matched, 4 a check failed,
5 the database cannot be reached, 6 not confirmed, 124 timed out, 130 interrupted, 143 stopped by force.`
