/** The way from webhooks to Kafka and back as a demo, started by `npm run demo:graduate`; options.ts says what it takes and answers. */
import { findJava } from '../../kafka/real/java.ts'
import { UsageError } from '../options.ts'
import { Interrupted, watchForEnd } from '../watch-for-end.ts'
import { help, readOptions, type GraduateOptions } from './options.ts'
import { play } from './play.ts'
import { Stage } from './stage.ts'
import { openStory } from './story.ts'
import { isProven, summarise, wordNow } from './summarise.ts'

/** PostgreSQL and Kafka come up in seconds; the first time Kafka has to be fetched. */
const startMs = 300_000

// Not left to the event loop: after an interruption a Kafka that is half started would hold it.
process.exit(await main())

async function main(): Promise<number> {
  try {
    const options = readOptions(process.argv.slice(2))
    if (options !== 'help') return await demonstrate(options)
    process.stdout.write(help)
    return 0
  } catch (error) {
    if (error instanceof Interrupted) return error.exitCode
    const words = error instanceof Error ? error.message : String(error)
    const usage = error instanceof UsageError
    process.stderr.write(usage ? `${words}\n\n${help}` : `the demo failed: ${words}\n`)
    return usage ? 2 : 1
  }
}

async function demonstrate(options: GraduateOptions): Promise<number> {
  const java = await findJava()
  if (typeof java === 'string') {
    throw new Error(
      `Kafka cannot start: ${java}. Install Java 17 or later (any JRE will do), or name one: JAVA_HOME=/path/to/it npm run demo:graduate`,
    )
  }
  const stream = options.json ? process.stderr : process.stdout
  const watch = watchForEnd(startMs + options.deadlineMs)
  const stage = new Stage(watch.signal)
  const story = openStory(stream, () => wordNow(stage))
  try {
    const result = await play(options, stage, story)
    story.close()
    for (const line of summarise(result, stream.isTTY)) stream.write(`${line}\n`)
    if (options.json) process.stdout.write(`${JSON.stringify(result)}\n`)
    return isProven(result) ? 0 : 1
  } catch (error) {
    throw watch.signal.aborted ? watch.signal.reason : error
  } finally {
    story.close()
    await stage[Symbol.asyncDispose]()
    watch.stop()
  }
}
