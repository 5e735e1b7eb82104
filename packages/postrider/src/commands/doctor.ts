import type { Command } from 'commander'
import { withDatabase, type DatabaseFlags } from '../options.ts'

export function addDoctor(program: Command): void {
  withDatabase(program.command('doctor'))
    .description('what is wrong with the database, the relays and the sinks, and what to do; exits with 4 when something is')
    .action(async (flags: DatabaseFlags) => (await import('../run/doctor.ts')).doctor(flags))
}
