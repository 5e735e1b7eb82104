import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Messages } from '@postrider/relay'
import { compiled, nodeArgs } from './node.ts'
import type { Receiver } from './receiver.ts'
import type { Channel, ChildOptions, Told } from './relay-child.ts'
import { until } from './until.ts'

export type { Channel } from './relay-child.ts'

export interface Message<Name extends Channel> {
  readonly at: number
  readonly message: Messages[Name]
}

/** A relay in a process of its own, which never outlives the test: its stdin is ours. */
export interface RelayProcess extends AsyncDisposable {
  readonly id: string
  /** Process id, for tests that hurt it. */
  readonly pid: number
  /** Null while it runs. */
  readonly end: {
    readonly code: number | null
    readonly signal: NodeJS.Signals | null
    readonly at: number
    readonly complaint: string
  } | null
  /** What it has told so far; the channel must be one that it watches. */
  told<Name extends Channel>(channel: Name): readonly Message<Name>[]
  /** Lanes that it carries, as `sink/lane`. */
  lanes(): string[]
  /** Ends it gracefully; with `hard` at once. Resolves when the process has ended. */
  stop(hard?: 'hard'): Promise<void>
  kill(signal: NodeJS.Signals): void
  /** Resolves when the process has ended. */
  readonly ended: Promise<void>
  /** Time of a core that it has used so far, in ms. */
  cpuMs(): Promise<number>
}

export interface RelayProcessOptions extends Partial<Omit<ChildOptions, 'sinks'>> {
  /** Settings of the only sink, `hook`. */
  readonly sink?: Partial<ChildOptions['sinks'][number]>
  /** More arguments for its Node. */
  readonly nodeArgs?: readonly string[]
}

/** Starts a relay from its sources that posts to a receiver (null: that does not). Resolves when it runs. Leases are short, as tests can wait for them. */
export async function startRelay(
  url: string,
  receiver: Pick<Receiver, 'url' | 'secret'> | null,
  given: RelayProcessOptions = {},
): Promise<RelayProcess> {
  const { sink, watch = [], nodeArgs: moreArgs = [], ...rest } = given
  const quick = { delaysMs: Array<number>(100).fill(200), jitter: 0, maxAgeMs: 600_000 }
  const options: ChildOptions = {
    connectionString: url,
    leaseMs: 1_000,
    ...rest,
    sinks: receiver === null ? [] : [{ name: 'hook', url: receiver.url, secret: receiver.secret, retry: quick, ...sink }],
    watch: [...new Set<Channel>([...watch, 'postrider:relay', 'postrider:lane', 'postrider:fault'])],
  }
  const child = spawn(
    process.execPath,
    [...nodeArgs, ...moreArgs, join(import.meta.dirname, 'relay-child.ts'), JSON.stringify(options)],
    {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { PATH: process.env['PATH'], NODE_COMPILE_CACHE: compiled },
    },
  )
  const told: Told[] = []
  const carried = new Set<string>()
  let complaint = ''
  let end: RelayProcess['end'] = null
  createInterface({ input: child.stdout }).on('line', (line) => {
    const one = JSON.parse(line) as Told
    told.push(one)
    if (one.channel !== 'postrider:lane') return
    const { sink, lane, change } = one.message as Messages['postrider:lane']
    if (change === 'claimed') carried.add(`${sink}/${lane}`)
    else carried.delete(`${sink}/${lane}`)
  })
  child.stderr.on('data', (data) => (complaint += String(data)))
  child.stdin.on('error', () => {}) // it ended first
  const ended = (once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>).then(([code, signal]) => {
    end = { code, signal, at: Date.now(), complaint }
    carried.clear()
  })
  const first = (channel: Told['channel']): Told | undefined => told.find((one) => one.channel === channel)

  const relay: RelayProcess = {
    get id() {
      return (first('postrider:relay')?.message as Messages['postrider:relay'] | undefined)?.relay ?? ''
    },
    pid: child.pid ?? 0,
    get end() {
      return end
    },
    told: <Name extends Channel>(channel: Name) => told.filter((one) => one.channel === channel) as unknown as Message<Name>[],
    lanes: () => [...carried].sort(),
    async stop(hard) {
      child.stdin.write(hard === undefined ? 'stop\n' : 'stop hard\n')
      await ended
      if (end?.code !== 0)
        throw new Error(`the relay ended with ${end?.code ?? end?.signal}: ${complaint}${JSON.stringify(first('failed'))}`)
    },
    kill: (signal) => void child.kill(signal),
    ended,
    async cpuMs() {
      const before = told.length
      child.stdin.write('cpu\n')
      const answer = (): Told | undefined => told.slice(before).find(({ channel }) => channel === 'cpu')
      await until('the relay answered', () => answer() !== undefined)
      const { user, system } = answer()!.message as NodeJS.CpuUsage
      return (user + system) / 1_000
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await ended
    },
  }
  await until('the relay started', () => relay.id !== '' || end !== null).catch(async (error: unknown) => {
    await relay[Symbol.asyncDispose]()
    throw error
  })
  if (relay.id === '') throw new Error(`the relay did not start: ${complaint}${JSON.stringify(first('failed'))}`)
  return relay
}
