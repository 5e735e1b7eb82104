import type { Command } from 'commander'
import { withConfig } from '../options.ts'
import type { HealthFlags } from '../run/health.ts'

export function addHealth(program: Command): void {
  withConfig(program.command('health'))
    .description('ask the relay of this machine how it is; exits with 0 or 1, for containers without a shell')
    .option('--ready', 'whether it can work, rather than whether it lives')
    .option('--url <url>', 'where its probes answer (default: health of the configuration)')
    .action(async (flags: HealthFlags) => (await import('../run/health.ts')).health(flags))
}
