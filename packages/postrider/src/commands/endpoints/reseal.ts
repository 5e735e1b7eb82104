import type { Command } from 'commander'
import { withActor } from '../../actor.ts'
import { withDatabase, type DatabaseFlags } from '../../options.ts'

export function addReseal(command: Command): void {
  withActor(withDatabase(command.command('reseal')))
    .description('seal with the current secretKey what former ones have sealed, so that those can go')
    .argument('<sink>', 'such as hooks')
    .action(async (sink: string, flags: DatabaseFlags & { readonly actor?: string }) =>
      (await import('../../run/endpoints/reseal.ts')).reseal(sink, flags),
    )
}
