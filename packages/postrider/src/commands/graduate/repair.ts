import { PostriderError } from '@postrider/schema'
import type { Command } from 'commander'
import { openGraduation } from '../../graduate/open.ts'
import { missingOf } from '../../graduate/verify.ts'
import { operate, withOperation, type OperateFlags } from '../../operate.ts'

export function addRepair(command: Command): void {
  withOperation(command.command('repair'))
    .description('send once more to a Kafka sink what the last comparison has found missing; marked as a replay')
    .option('--to <sink>', 'the Kafka sink (default: the only one of the configuration)')
    .action(repair)
}

async function repair(flags: OperateFlags & { readonly to?: string }): Promise<void> {
  await using graduation = await openGraduation(flags.to, flags, 'graduate repair')
  const { name } = graduation.target
  const ids = await missingOf(name, graduation)
  if (ids.length === 0) throw new PostriderError('not_found', `The last comparison of ${name} has found nothing missing.`)
  await operate({ kind: 'replay', filter: { ids }, sink: name, asNew: false }, flags)
}
