import { PostriderError } from '@postrider/schema'
import type { Command } from 'commander'
import { actorOf, withActor } from '../../actor.ts'
import { confirm } from '../../confirm.ts'
import { completeCutover, cutOver, type Cutover } from '../../graduate/cutover.ts'
import { unfinishedCutover } from '../../graduate/find.ts'
import { readGates, requireOpen, standardGates } from '../../graduate/gates.ts'
import { openGraduation } from '../../graduate/open.ts'
import { collect, duration, wait, wholeNumber, withDatabase, type DatabaseFlags } from '../../options.ts'
import { plain, print, printJson, say } from '../../print.ts'

interface CutoverFlags extends DatabaseFlags {
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

export function addCutover(command: Command): void {
  withActor(withDatabase(command.command('cutover')))
    .description(
      'move the consumer of some event types from a sink to a Kafka sink: nothing is left out; run it again to go on with one that was interrupted',
    )
    .requiredOption('--sink <name>', 'the sink that delivers to it now')
    .requiredOption('--type <filter>', 'the event types: order.*, order.** (may be repeated)', collect(String))
    .requiredOption('--consumer <group>', 'the group that will read them')
    .option('--to <sink>', 'the Kafka sink (default: the only one of the configuration)')
    .option('--max-age <time>', 'refuse when the last comparison is older', duration, standardGates.maxAgeMs)
    .option(
      '--min-events <n>',
      'refuse when comparisons of that age cover fewer',
      wholeNumber(0, 1_000_000_000),
      standardGates.minEvents,
    )
    .option('--new-group', 'the group has never read there')
    .option('--force', 'though gates are closed; needs --reason, and is recorded')
    .option('--reason <text>', 'why; kept in the record')
    .option('--deadline <time>', 'how long both sinks may take to do what was committed before (default: 1m)', wait)
    .option('-y, --yes', 'do not ask')
    .action(run)
}

async function run(flags: CutoverFlags, command: Command): Promise<void> {
  if (flags.force && (flags.reason ?? '') === '') command.error('error: --force needs --reason')
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
