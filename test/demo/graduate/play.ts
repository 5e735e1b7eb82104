/** The demo from the first step to the last: what an operator types, what comes of it, and what is compared in the end. */
import { join } from 'node:path'
import { compare, type Comparison } from './compare.ts'
import { webhookSink } from './configuration.ts'
import { fingerprint } from './fingerprint.ts'
import type { Road } from './messages.ts'
import type { GraduateOptions } from './options.ts'
import type { Stage } from './stage.ts'
import type { Story } from './story.ts'
import { figure } from './summarise.ts'

export type StepName = 'webhook' | 'backfill' | 'verify' | 'cutover' | 'rollback' | 'cutover again' | 'finish'

export interface Step {
  readonly step: StepName
  readonly ms: number
  /** Committed meanwhile. */
  readonly orders: number
}

/** The result, as `--json` prints it. */
export interface Result extends Comparison {
  readonly rolledBack: number
  /** Committed more than half a second after their events were written. */
  readonly late: number
  /** Came by webhook and by Kafka. */
  readonly byBoth: number
  /** Events that were in the log before Kafka was, and stand in the topic now. */
  readonly backfilled: number
  /** Events that `verify` has found equal. */
  readonly verified: number
  readonly steps: readonly Step[]
  readonly totalMs: number
  readonly shop: {
    /** Over its files, at the end. */
    readonly sha256: string
    /** As at the start. */
    readonly unchanged: boolean
    readonly restarts: number
  }
}

const shopFolder = join(import.meta.dirname, 'shop')
const perSecond = 150
/** So many orders go by a road before the consumer moves again. */
const enough = 200
const partitions = 3
/** Until the consumer has them again after a move. */
const moveMs = 30_000
/** Something is missing and nothing has come for this time: it will not come. */
const lostAfterMs = 5_000

const topics = `postrider kafka topics apply --partitions ${partitions} --yes`
const verify = `postrider graduate verify --sink ${webhookSink}`
const cutover = `postrider graduate cutover --sink ${webhookSink} --type 'order.**' --consumer ${webhookSink} --new-group --yes`
const rollback = (id: string): string => `postrider graduate rollback ${id} --reason rehearsal --yes`
const finish = (id: string): string => `postrider graduate finish ${id} --yes`

/** @throws when something of the demo itself fails, a command is refused, or it is broken off */
export async function play({ events, deadlineMs }: GraduateOptions, stage: Stage, story: Story): Promise<Result> {
  const started = performance.now()
  const before = await fingerprint(shopFolder)
  const steps: Step[] = []

  async function step(name: StepName, title: string, commands: readonly string[], work: () => Promise<string>): Promise<void> {
    const [began, committed] = [performance.now(), stage.sales.committed]
    story.begin(title, ...commands)
    const words = await work()
    const ms = Math.round(performance.now() - began)
    steps.push({ step: name, ms, orders: stage.sales.committed - committed })
    story.end(ms, words)
  }

  async function more(road: Road, orders: number): Promise<void> {
    const wanted = stage.intake[road] + orders
    await stage.until(() => stage.intake[road] >= wanted, `no orders come by ${road}`, moveMs)
  }

  async function moveToKafka(): Promise<string> {
    const { id } = await stage.postrider<{ readonly id: string }>(cutover)
    await stage.read(webhookSink)
    await more('kafka', 1)
    return id
  }

  story.say('PostgreSQL and Kafka are starting.')
  await stage.open(deadlineMs)

  await step('webhook', 'A shop, and a consumer by webhook', ['postrider start'], async () => {
    await stage.configure({ kafka: false })
    await stage.restartRelay()
    stage.startShop(events, perSecond)
    await stage.until(() => stage.intake.webhook >= events, 'the webhook did not bring all orders')
    return `${figure(stage.intake.webhook)} orders are billed; the shop writes on, ${perSecond} a second, to the end`
  })

  let backfilled = 0
  await step('backfill', 'Kafka as a shadow: six lines of configuration', [topics, 'postrider start'], async () => {
    await stage.configure({ kafka: true })
    await stage.postrider(topics)
    const { count, at } = await logNow(stage)
    await stage.restartRelay()
    await stage.until(() => isCarried(stage, at), 'the backfill did not end')
    backfilled = count
    return `${figure(count)} events of the time before are in the topic too`
  })

  let verified = 0
  await step('verify', 'Is it the same?', [verify], async () => {
    verified = (await stage.postrider<{ readonly events: number }>(verify)).events
    return `equal: ${figure(verified)} events in the log, in the topic, and acknowledged by billing`
  })

  await step('cutover', 'The consumer moves to Kafka', [cutover], async () => {
    await moveToKafka()
    return 'billing reads the topic, with the same handler'
  })
  await more('kafka', enough)

  const rehearsed = await newestCutover(stage)
  await step('rollback', 'And back, to have tried it', [rollback(rehearsed)], async () => {
    await stage.stopReading()
    const { givenBack } = await stage.postrider<{ readonly givenBack: number }>(rollback(rehearsed))
    await more('webhook', 1)
    return `the ${figure(givenBack)} events that billing had not read come by webhook, and all that follow`
  })
  await more('webhook', enough)

  await step('cutover again', 'To Kafka once more', [cutover], async () => {
    await moveToKafka()
    return 'billing reads on'
  })
  await more('kafka', enough)

  const last = await newestCutover(stage)
  await step('finish', 'And there it stays', [finish(last)], async () => {
    await stage.postrider(finish(last))
    return 'the producer has noticed nothing of all this'
  })

  await stage.closeShop()
  await untilAllIsBilled(stage)
  const comparison = compare(await stage.readOrders(), await stage.readEffects())
  await stage.stopReading()
  await stage.stopRelay()
  const sha256 = await fingerprint(shopFolder)
  return {
    ...comparison,
    rolledBack: stage.sales.rolledBack,
    late: stage.sales.late,
    byBoth: stage.intake.both,
    backfilled,
    verified,
    steps,
    totalMs: Math.round(performance.now() - started),
    shop: { sha256, unchanged: sha256 === before, restarts: stage.shopPids.size - 1 },
  }
}

async function logNow({ outbox }: Stage): Promise<{ readonly count: number; readonly at: Date }> {
  const { rows } = await outbox.query<{ count: number; at: Date }>(
    'select count(*)::int as count, clock_timestamp() as at from postrider.events',
  )
  return rows.at(0)!
}

/** Kafka has what was in the log at that time, and no sink is behind: the relay had to be restarted, and the orders did not wait. */
async function isCarried({ outbox }: Stage, at: Date): Promise<boolean> {
  const { rows } = await outbox.query<{ carried: boolean }>(
    `select count(*) = 2 and bool_and(b.oldest_pending_at is null
        or b.oldest_pending_at > $1 and b.oldest_pending_at > clock_timestamp() - interval '0.5 s') as carried
     from postrider.backlog as b`,
    [at],
  )
  return rows.at(0)!.carried
}

async function newestCutover({ outbox }: Stage): Promise<string> {
  const { rows } = await outbox.query<{ id: string }>('select max(id)::text as id from postrider.cutovers')
  return rows.at(0)!.id
}

/** Waits until as many are billed as were committed, or it is plain that it will not be so. */
async function untilAllIsBilled(stage: Stage): Promise<void> {
  const billed = (): number => stage.intake.webhook + stage.intake.kafka
  let [last, since] = [billed(), performance.now()]
  const settled = (): boolean => {
    if (billed() !== last) [last, since] = [billed(), performance.now()]
    return billed() >= stage.sales.committed || performance.now() - since > lostAfterMs
  }
  await stage.until(settled, 'the consumer is not done')
}
