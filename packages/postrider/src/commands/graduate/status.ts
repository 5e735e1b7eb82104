import type { Command } from 'commander'
import { withDatabase, type DatabaseFlags } from '../../options.ts'

export function addStatus(command: Command): void {
  withDatabase(command.command('status'))
    .description('how far each consumer has come (webhook, shadow, proven, switching, kafka), and what stands in its way')
    .argument('[sink]', 'only of this sink, with its endpoints')
    .action(async (sink: string | undefined, flags: DatabaseFlags) =>
      (await import('../../run/graduate/status.ts')).status(sink, flags),
    )
}
