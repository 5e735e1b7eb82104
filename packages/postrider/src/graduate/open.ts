import { openDatabase } from '../connect.ts'
import { chooseTarget, loadTargets, type KafkaTarget } from '../kafka/target.ts'
import type { DatabaseFlags } from '../options.ts'
import { say } from '../print.ts'
import type { Graduation } from './cutover.ts'
import { openStream } from './open-stream.ts'

export interface OpenGraduation extends Graduation, AsyncDisposable {
  readonly target: KafkaTarget
}

/**
 * The database, and the cluster of a Kafka sink of the configuration (the only one, when no name is given).
 * @throws PostriderError `invalid_options`, `client_missing`
 */
export async function openGraduation(
  toSink: string | undefined,
  flags: DatabaseFlags & { readonly deadline?: number },
  command: string,
): Promise<OpenGraduation> {
  const { settings, targets } = await loadTargets(flags)
  const target = chooseTarget(targets, toSink)
  await using opened = new AsyncDisposableStack()
  const database = opened.use(openDatabase(settings, command))
  const stream = opened.use(await openStream(target))
  const owned = opened.move()
  return {
    target,
    database,
    schema: settings.schema,
    stream,
    ...(flags.deadline !== undefined && { deadlineMs: flags.deadline }),
    say: flags.json ? () => undefined : say,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}
