import { PostriderError } from '@postrider/schema'
import { actorOf } from '../../actor.ts'
import { confirm } from '../../confirm.ts'
import { completeCutover, cutOver, type Cutover } from '../../graduate/cutover.ts'
import { unfinishedCutover } from '../../graduate/find.ts'
import { readGates, requireOpen } from '../../graduate/gates.ts'
import { openGraduation } from '../../graduate/open.ts'
import type { DatabaseFlags } from '../../options.ts'
import { plain, print, printJson, say } from '../../print.ts'

export interface CutoverFlags extends DatabaseFlags {
  readonly sink: string
  readonly to?: string
  readonly type: readonly string[]
  readonly consumer: string
  readonly maxAge: number
  readonly minEvents: number
  readonly newGroup?: true
  readonly force?: true
  readonly reason?: string
  readonly deadline?: number
  readonly yes?: true
  readonly actor?: string
}

export async function run(flags: CutoverFlags): Promise<void> {
  await using graduation = await openGraduation(flags.to, flags, 'graduate cutover')
  const move = { sink: flags.sink, types: flags.type, toSink: graduation.target.name, consumer: flags.consumer }
  const begun = await unfinishedCutover(move, graduation)
  const actor = actorOf(flags)
  if (begun !== null) {
    say(`going on with cutover ${begun.id}, which was begun before`)
    return tell(await completeCutover(begun, actor, graduation), flags)
  }
  const gates = await readGates(
    { ...move, maxAgeMs: flags.maxAge, minEvents: flags.minEvents, newGroup: flags.newGroup === true },
    graduation,
  )
  const closed = gates.filter(({ open }) => !open)
  if (!flags.force) requireOpen(gates)
  const idle = closed.find(({ gate }) => gate === 'idle')
  // No force helps: offsets of a group that reads cannot be set.
  if (idle !== undefined) requireOpen([idle])
  if (closed.length > 0) say(`past ${closed.map(({ gate, detail }) => `${gate} (${detail})`).join(', ')}`)
  const reason = [
    ...(closed.length > 0 ? [`forced past ${closed.map(({ gate }) => gate).join(', ')}`] : []),
    ...(flags.reason === undefined ? [] : [flags.reason]),
  ]
  await confirm(
    `Move ${move.types.join(', ')} of ${move.consumer} from ${move.sink} to ${move.toSink}? ${move.sink} will not deliver them any more.`,
    flags.yes === true,
  )
  tell(await cutOver({ ...move, actor, reason: reason.length === 0 ? null : reason.join(': ') }, graduation), flags)
}

function tell(cutover: Cutover, flags: CutoverFlags): void {
  if (cutover.state !== 'switched') throw new PostriderError('cutover_refused', `cutover ${cutover.id} is ${cutover.state}`)
  if (flags.json) return printJson(cutover)
  print(`cutover ${cutover.id}: ${plain(cutover.consumer)} reads ${cutover.types.join(', ')} from here on`)
  for (const [topic, partitions] of Object.entries(cutover.offsets ?? {})) {
    for (const [partition, offset] of Object.entries(partitions)) print(`  ${topic}  partition ${partition}  offset ${offset}`)
  }
  say(`Start its consumers. Watch it: postrider graduate status. Back: postrider graduate rollback ${cutover.id}`)
}
