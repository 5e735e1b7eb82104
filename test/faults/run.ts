import { setTimeout as sleep } from 'node:timers/promises'
import { takeovers } from './crew.ts'
import { failedAttempts, parked, staleWrites, watched } from './fences.ts'
import type { Fault } from './fault.ts'
import type { Emitted, Receipt } from './history.ts'
import { broken, judge, type Verdict } from './judge.ts'
import { planOf, randomOf, type Given, type Plan } from './plan.ts'
import { Stage } from './stage.ts'
import type { Theatre } from './theatre.ts'
import { endPrepared, resolveUnknown } from './write.ts'

/** What a run has shown, as it stands in the JSON. */
export interface Result {
  readonly fault: string
  readonly seed: number
  /** Null when the run could not be done. */
  readonly plan: Plan | null
  readonly committed: number
  readonly rolledBack: number
  /** Nobody can know any more: the end of history was lost. */
  readonly unknown: number
  readonly receipts: number
  /** Lanes that changed hands without having been given back. */
  readonly takeovers: number
  /** Relays that died, whoever killed them. */
  readonly deaths: number
  readonly verdict: Verdict | null
  /** What relays wrote that were not the owners of a lane any more. */
  readonly stale: readonly string[]
  /** From the end of a blow to the first arrival of an event that was written after it; the worst of the run. */
  readonly backMs: number | null
  /** The longest that an event without a time of its own waited from its commit to its arrival. */
  readonly longestMs: number
  /** Every promise that was broken, in words; empty when all held. */
  readonly broken: readonly string[]
  readonly tookMs: number
}

/** Writers go on for so long after the last blow, to see that the road works again. */
const afterMs = 1_000
/** After the writers have stopped, everything arrives within this time. */
const arriveMs = 60_000
/** Nothing is left to do after this time more. */
const quietMs = 15_000
const shown = 5

/** What a result was found from, for whoever looks for the reason. */
export interface Evidence {
  readonly emitted: readonly Emitted[]
  readonly receipts: readonly Receipt[]
  /** When each blow was healed. */
  readonly healed: readonly number[]
  /** What each relay told of its lanes, and how it ended. */
  readonly relays: readonly { readonly relay: string; readonly lanes: readonly object[]; readonly end: object | null }[]
}

/** One run: builds the stage, strikes, heals, waits until everything that can arrive has arrived, and judges. */
export async function run(
  theatre: Theatre,
  fault: Fault,
  seed: number,
  seconds: number,
  given: Given = {},
): Promise<{ readonly result: Result; readonly evidence: Evidence }> {
  const beganAt = performance.now()
  const plan = planOf(seed, fault, seconds, given)
  await using stage = await Stage.open(theatre, plan, fault)
  const healed = await strike(stage, fault)
  const { emitted } = stage.writers
  await stage.writers.stop()
  await endPrepared(stage.url())
  await resolveUnknown(stage.url(), emitted, fault.losesHistory === true)
  await arrive(stage, emitted)
  const left = await becomesQuiet(stage)
  await stage.crew.stop()

  const complaints = (await stage.receiver.complaints()).filter((complaint) => !complaint.startsWith('two at once'))
  const { receipts } = stage.journal
  const count = (fate: Emitted['fate']): number => emitted.filter((event) => event.fate === fate).length
  const hands = takeovers(stage.crew.all)
  const slow = await stage.withClient(parked)
  // What a broker was sent and has not answered for may stand in the topic.
  const unanswered = stage.posts ? 0 : await stage.withClient(failedAttempts)
  // A page of the log, and as many rows that were due.
  const bound = hands * 2 * plan.pageSize + slow + unanswered + stage.receiver.deaths * plan.concurrency + stage.allowed
  const verdict = judge({ emitted, receipts }, bound)
  const backMs = backIn(emitted, receipts, healed)
  const longestMs = longestWait(emitted, receipts)
  const stale = fault.losesFences === true ? [] : await stage.withClient(staleWrites)
  const { relays, checkpoints } = await stage.withClient(watched)
  const faults = stage.crew.all.flatMap((relay) =>
    relay.told('postrider:fault').map(({ message }) => String(message.error).split('\n', 1)[0] ?? ''),
  )
  const evidence = {
    emitted,
    receipts,
    healed,
    relays: stage.crew.all.map((relay) => ({ relay: relay.id, lanes: relay.told('postrider:lane'), end: relay.end })),
  }
  const result: Result = {
    fault: fault.name,
    seed,
    plan,
    committed: count('committed'),
    rolledBack: count('rolled back'),
    unknown: count('unknown'),
    receipts: receipts.length,
    takeovers: hands,
    deaths: stage.crew.all.filter(({ end }) => end !== null && end.code !== 0).length,
    verdict,
    stale,
    backMs,
    longestMs,
    broken: [
      ...named('idle', count('committed') === 0 || relays === 0 || checkpoints === 0 ? ['nothing was written or watched'] : []),
      ...broken(verdict),
      ...(backMs !== null && backMs > fault.backWithinMs
        ? [`back: after ${backMs} ms, at most ${fault.backWithinMs} are allowed`]
        : []),
      ...(longestMs > (fault.waitsWithinMs ?? Infinity)
        ? [`wait: ${longestMs} ms, at most ${fault.waitsWithinMs} are allowed`]
        : []),
      ...named('fence', stale),
      ...named('left', left),
      ...named('complaints', complaints),
      ...named('faults of relays', fault.complains === true ? [] : faults),
    ],
    tookMs: Math.round(performance.now() - beganAt),
  }
  return { result, evidence }
}

/** Strikes as planned; answers when each blow was healed, by `Date.now()`. */
async function strike(stage: Stage, fault: Fault): Promise<number[]> {
  const { blows, seconds, seed } = stage.plan
  const random = randomOf(seed, fault.name).stream('fault')
  const beganAt = performance.now()
  const until = (ms: number): Promise<void> => sleep(Math.max(0, beganAt + ms - performance.now()))
  const healed: number[] = []
  for (const blow of blows) {
    await until(blow.atMs)
    try {
      await fault.act(stage, random, blow)
      await sleep(blow.forMs)
    } finally {
      await fault.heal(stage, random)
    }
    healed.push(Date.now())
  }
  await until(Math.max(seconds * 1_000, performance.now() - beganAt + (healed.length > 0 ? afterMs : 0)))
  return healed
}

async function arrive({ journal }: Stage, emitted: readonly Emitted[]): Promise<void> {
  const end = performance.now() + arriveMs
  let missing = emitted.filter(({ fate }) => fate === 'committed')
  while (performance.now() < end) {
    const taken = new Set(journal.receipts.map(({ writtenId }) => writtenId))
    missing = missing.filter(({ id }) => !taken.has(id))
    if (missing.length === 0) return
    await sleep(20)
  }
}

/** What is left in the tables when nothing should be. */
async function becomesQuiet(stage: Stage): Promise<string[]> {
  return await stage.withClient(async (client) => {
    const end = performance.now() + quietMs
    for (;;) {
      const { rows } = await client.query<{ line: string }>(
        `select format('%s %s: %s', d.state, d.event_id, d.error) as line from postrider.deliveries as d
         union all select format('pending %s', p.event_id) from postrider.pending as p limit ${shown}`,
      )
      if (rows.length === 0 || performance.now() > end) return rows.map(({ line }) => line)
      await sleep(50)
    }
  })
}

function backIn(emitted: readonly Emitted[], receipts: readonly Receipt[], healed: readonly number[]): number | null {
  const began = new Map(emitted.filter(({ dueAt }) => dueAt === null).map(({ id, began }) => [id, began]))
  const times = healed.flatMap((at) => {
    const first = receipts.find(({ writtenId }) => (began.get(writtenId) ?? 0) >= at)
    return first === undefined ? [] : [first.at - at]
  })
  return times.length === 0 ? null : Math.max(...times)
}

function longestWait(emitted: readonly Emitted[], receipts: readonly Receipt[]): number {
  const ended = new Map(emitted.filter(({ dueAt }) => dueAt === null).map(({ id, ended }) => [id, ended]))
  let longest = 0
  for (const { writtenId, at } of receipts) {
    longest = Math.max(longest, at - (ended.get(writtenId) ?? at))
    ended.delete(writtenId)
  }
  return longest
}

function named(promise: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : [`${promise}: ${lines.length} (${lines.slice(0, shown).join('; ')})`]
}
