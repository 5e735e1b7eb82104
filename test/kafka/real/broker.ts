import { readdir, readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Keeper, Kept } from './keeper.ts'
import { askBrokers } from './probe.ts'
import type { Node } from './properties.ts'

export interface KafkaBroker {
  readonly id: number
  /** On 127.0.0.1, the same after a restart. */
  readonly port: number
  /** Of the running broker; throws while none runs. */
  readonly pid: number
  /** File with what the broker wrote to its standard output: warnings and errors. */
  readonly output: string
  /** Sends a signal; waits for the end when it is SIGKILL or SIGTERM. */
  kill(signal: 'SIGKILL' | 'SIGTERM' | 'SIGSTOP' | 'SIGCONT'): Promise<void>
  /** Ends in good order: leaders move away first. Does nothing when none runs. */
  stop(): Promise<void>
  /** Starts again on the same data and the same port; resolves when the broker serves. Does nothing when one runs. */
  start(): Promise<void>
}

/** Where and how a broker runs. */
export interface Place {
  readonly node: Node
  readonly command: string
  readonly args: readonly string[]
  readonly output: string
}

const restartTimeoutMs = 60_000
const stopTimeoutMs = 20_000
const answerTimeoutMs = 1000
const pollMs = 20

export function newBroker(
  keeper: Keeper,
  place: Place,
  clusterSize: number,
): KafkaBroker & { startUntil(deadline: number): Promise<void> } {
  const { id, port, internal } = place.node
  let kept: Kept | undefined
  const running = (): Kept | undefined => (kept?.outcome === undefined ? kept : undefined)
  const runs = (): Kept => {
    const process = running()
    if (process === undefined) throw new Error(`broker ${id} does not run`)
    return process
  }

  /** Serves when it names itself and, at the first start, all others: brokers that are not ready yet are not named. */
  async function startUntil(deadline: number, others = clusterSize): Promise<void> {
    if (running() !== undefined) return
    const started = await keeper.start(place.command, place.args, place.output)
    kept = started
    while (started.outcome === undefined && Date.now() < deadline) {
      const brokers = await askBrokers(internal, answerTimeoutMs).catch((): number[] => [])
      if (brokers.includes(id) && brokers.length >= others) return
      await sleep(pollMs)
    }
    const why = started.outcome === undefined ? 'was not ready in time' : `ended (${started.outcome})`
    if (started.outcome === undefined) await send('SIGKILL')
    throw new Error(`Kafka broker ${id} ${why}: ${(await readFile(place.output, 'utf8').catch(() => '')).slice(-4000)}`)
  }

  async function send(signal: 'SIGKILL' | 'SIGTERM' | 'SIGSTOP' | 'SIGCONT'): Promise<void> {
    const target = runs()
    process.kill(target.pid, signal)
    if (signal === 'SIGKILL' || signal === 'SIGTERM') await target.end()
    if (signal === 'SIGSTOP') await standsStill(target.pid)
  }

  return {
    id,
    port,
    output: place.output,
    get pid() {
      return runs().pid
    },
    kill: send,
    async stop() {
      if (running() === undefined) return
      const force = setTimeout(() => void send('SIGKILL').catch(() => {}), stopTimeoutMs)
      await send('SIGTERM')
      clearTimeout(force)
    },
    start: () => startUntil(Date.now() + restartTimeoutMs, 1),
    startUntil,
  }
}

/** On a busy machine a thread may run on for a while after the signal. Where there is no /proc, nobody can tell. */
async function standsStill(pid: number): Promise<void> {
  const tasks = `/proc/${pid}/task`
  const runs = async (task: string): Promise<boolean> => {
    const stat = await readFile(`${tasks}/${task}/stat`, 'utf8').catch(() => '')
    return stat !== '' && !/\) [TtZX] /.test(stat)
  }
  for (const end = performance.now() + 5_000; performance.now() < end; await sleep(5)) {
    const running = await Promise.all((await readdir(tasks).catch(() => [])).map(runs))
    if (!running.includes(true)) return
  }
}
