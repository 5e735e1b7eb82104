import type { Command } from 'commander'
import { withActor } from '../actor.ts'
import { duration, withDatabase, wholeNumber } from '../options.ts'
import type { SegmentsFlags } from '../run/segments.ts'

/** `migrate segments`: how the log is cut, and for how long things are kept. */
export function addSegments(migrate: Command): void {
  withActor(withDatabase(migrate.command('segments')))
    .description('the segments of the log and how long things are kept: shows them, or changes them while everything runs')
    .option('--count <n>', 'cut the log into so many segments, 3 to 64', wholeNumber(3, 64))
    .option('--width <time>', 'write each for so long, 10s to 31d', duration)
    .option('--keep <time>', 'keep events and attempts for so long at least; (count - 2) × width at most', duration)
    .option('--keep-dead <time>', 'discard dead letters that are older', duration)
    .option('--hold <time>', 'wait for a sink that is paused, disabled or gone for so long, and then leave it behind', duration)
    .option('--pass-lagging', 'leave an active sink behind too when it has not passed a segment in time')
    .option('--no-pass-lagging', 'wait for an active sink for as long as it takes (the default)')
    .option('--reason <text>', 'why; kept in the record')
    .option('--dry-run', 'print the SQL that would change it')
    .action(async (flags: SegmentsFlags) => (await import('../run/segments.ts')).segments(flags))
}
