/** The demo, started by `npm run demo`; see options.ts for what it takes and what it answers. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Diary } from './diary.ts'
import { tell } from './draw.ts'
import { help, readOptions, UsageError, type DemoOptions } from './options.ts'
import { play } from './play.ts'
import { Score } from './score.ts'
import { canShow, openScreen } from './screen.ts'
import { isProven, summarise } from './summarise.ts'
import { Interrupted, watchForEnd } from './watch-for-end.ts'

/** How often plain lines say how things stand. */
const reportMs = 2_000
/** How long the last picture stays. */
const lastPictureMs = 2_000

process.exitCode = await main()

async function main(): Promise<number> {
  try {
    const options = readOptions(process.argv.slice(2), process.env)
    if (options !== 'help') return await demonstrate(options)
    process.stdout.write(help)
    return 0
  } catch (error) {
    if (error instanceof Interrupted) return error.exitCode
    const usage = error instanceof UsageError
    process.stderr.write(
      usage ? `${error.message}\n\n${help}` : `the demo failed: ${error instanceof Error ? error.message : String(error)}\n`,
    )
    return usage ? 2 : 1
  }
}

async function demonstrate(options: DemoOptions): Promise<number> {
  const diary = new Diary()
  const shown = !options.json && canShow(process.stdout)
  const lines = options.json ? process.stderr : process.stdout
  const print = (text: string): boolean => lines.write(`${text}\n`)
  const score = new Score(options.events, diary, (happening) => {
    if (!shown) print(`${(happening.atMs / 1000).toFixed(1).padStart(6)} s  ${happening.text}`)
  })
  const watch = watchForEnd(options.deadlineMs)
  const screen = shown ? openScreen(score, process.stdout) : undefined
  const reporting = shown ? undefined : setInterval(() => report(score, print), reportMs)
  try {
    const result = await play(options, diary, score, watch.signal)
    if (screen !== undefined) {
      await sleep(lastPictureMs, undefined, { signal: watch.signal })
      screen.close()
      for (const happening of score.happenings) print(tell(happening, Math.min(100, process.stdout.columns)).join('\n'))
    }
    print(summarise(result, { columns: shown ? process.stdout.columns : 100, colours: shown }))
    if (options.json) process.stdout.write(`${JSON.stringify(result)}\n`)
    return isProven(result) ? 0 : 1
  } catch (error) {
    throw watch.signal.aborted ? watch.signal.reason : error
  } finally {
    screen?.close()
    clearInterval(reporting)
    watch.stop()
  }
}

function report(score: Score, print: (text: string) => void): void {
  if (score.committed === 0) return
  const { committed, delivered, duplicates, backlog, retries } = score
  const time = `${(score.elapsedMs / 1000).toFixed(1).padStart(6)} s`
  print(
    `${time}  ${committed} committed, ${delivered} delivered, ${duplicates} duplicates, ${retries} retries, ${backlog} waiting`,
  )
}
