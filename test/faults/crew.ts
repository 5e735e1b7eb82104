import { spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import type { RelayProcess, RelayProcessOptions } from '../relay-process.ts'
import { startProxy, type Proxy } from './proxy.ts'
import type { Random } from './random.ts'

/** A relay with a way to the database of its own. */
export interface Member {
  readonly relay: RelayProcess
  readonly way: Proxy
}

/** Starts a relay that reaches the database by a way of its own, under a name that no other has. */
export type StartOne = (way: Proxy, more: RelayProcessOptions) => Promise<RelayProcess>

/** Relays that are started again when they die, as an orchestrator does. */
export class Crew implements AsyncDisposable {
  readonly #start: StartOne
  readonly #openWay: () => Promise<Proxy>
  readonly #members: Member[] = []
  readonly #ways: Proxy[] = []
  readonly #watches: Promise<void>[] = []
  /** Every relay that has ever run. */
  readonly all: RelayProcess[] = []
  #over = false
  /** What relays are started with from now on. */
  options: RelayProcessOptions = {}

  constructor(port: () => number, start: StartOne) {
    this.#openWay = () => startProxy(port())
    let started = 0
    this.#start = (way, more) => start(way, { name: `relay-${++started}`, ...more })
  }

  /** Those that run, or did a moment ago. */
  get members(): readonly Member[] {
    return this.#members
  }

  get ways(): readonly Proxy[] {
    return this.#ways
  }

  one(random: Random): Member {
    return random.pick(this.#members)
  }

  /** Starts one more that is followed by another when it ends. */
  async add(): Promise<void> {
    const way = await this.#way()
    const relay = await this.#start(way, this.options)
    this.all.push(relay)
    this.#watches.push(this.#watch({ relay, way }))
  }

  /** Starts one that is followed by nobody. */
  async guest(more: RelayProcessOptions): Promise<RelayProcess> {
    const relay = await this.#start(await this.#way(), { ...this.options, ...more })
    this.all.push(relay)
    return relay
  }

  /** Ends all in good order; those that cannot any more, at once. */
  async stop(): Promise<void> {
    this.#over = true
    const stopping = this.all.filter(({ end }) => end === null)
    await Promise.all(
      stopping.map(async (relay) => {
        const late = AbortSignal.timeout(20_000)
        late.addEventListener('abort', () => relay.kill('SIGKILL'))
        await relay.stop().catch(() => undefined)
      }),
    )
    await Promise.all(this.#watches)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true
    for (const relay of this.all) await relay[Symbol.asyncDispose]()
    await Promise.all(this.#watches)
    for (const way of this.#ways) await way[Symbol.asyncDispose]()
  }

  async #way(): Promise<Proxy> {
    const way = await this.#openWay()
    this.#ways.push(way)
    return way
  }

  async #watch(first: Member): Promise<void> {
    let member = first
    this.#members.push(member)
    for (;;) {
      await member.relay.ended
      const place = this.#members.indexOf(member)
      while (!this.#over) {
        await sleep(200)
        const relay = await this.#start(member.way, this.options).catch(() => undefined)
        if (relay === undefined) continue
        this.all.push(relay)
        member = { ...member, relay }
        this.#members[place] = member
        break
      }
      if (this.#over) return
    }
  }
}

/** Stops a process for a while. By another one that outlives us: what is stopped would not notice that we are gone. */
export async function freeze({ pid }: RelayProcess, ms: number): Promise<void> {
  const script = 'kill -STOP "$1" && sleep "$2"; kill -CONT "$1"'
  const child = spawn('sh', ['-c', script, 'sh', String(pid), String(ms / 1_000)], { detached: true, stdio: 'ignore' })
  await new Promise((resolve) => child.on('close', resolve))
}

/** Lanes that relays had in hand when they died, or lost without knowing: whoever takes one over sends a page of it again. */
export function takeovers(relays: readonly RelayProcess[]): number {
  return relays.reduce((sum, relay) => {
    const carried = new Set<string>()
    let lost = 0
    for (const { message } of relay.told('postrider:lane')) {
      const lane = `${message.sink}/${message.lane}`
      if (message.change === 'claimed') carried.add(lane)
      else carried.delete(lane)
      if (message.change === 'lost') lost++
    }
    return sum + lost + (relay.end?.code === 0 ? 0 : carried.size)
  }, 0)
}
