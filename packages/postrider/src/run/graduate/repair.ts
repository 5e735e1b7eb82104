import { PostriderError } from '@postrider/schema'
import { openGraduation } from '../../graduate/open.ts'
import { missingOf } from '../../graduate/verify.ts'
import type { OperateFlags } from '../../operate-options.ts'
import { operate } from '../operate.ts'

export async function repair(flags: OperateFlags & { readonly to?: string }): Promise<void> {
  await using graduation = await openGraduation(flags.to, flags, 'graduate repair')
  const { name } = graduation.target
  const ids = await missingOf(name, graduation)
  if (ids.length === 0) throw new PostriderError('not_found', `The last comparison of ${name} has found nothing missing.`)
  await operate({ kind: 'replay', filter: { ids }, sink: name, asNew: false }, flags)
}
