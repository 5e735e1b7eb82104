import { paint } from '../draw.ts'
import type { Result } from './play.ts'
import type { Stage } from './stage.ts'

interface Promised {
  readonly kept: boolean
  readonly yes: string
  readonly no: string
}

/** True when every promise was kept. */
export function isProven(result: Result): boolean {
  return promises(result).every(({ kept }) => kept)
}

/** What the run has shown, in lines. */
export function summarise(result: Result, colours: boolean): string[] {
  const tone = (name: Parameters<typeof paint>[0], text: string): string => (colours ? paint(name, text) : text)
  const { byWebhook, byKafka, byBoth, rolledBack, late, totalMs } = result
  return [
    '',
    ...promises(result).map(
      ({ kept, yes, no }) => `${tone(kept ? 'good' : 'bad', kept ? '✓' : '✗')} ${kept ? yes : tone('bad', no)}`,
    ),
    tone(
      'faint',
      `  ${figure(byWebhook)} took effect by webhook, ${figure(byKafka)} by Kafka; ${figure(byBoth)} came by both. ` +
        `${figure(rolledBack)} were rolled back, ${figure(late)} committed late.`,
    ),
    tone(
      'faint',
      `  ${(totalMs / 1_000).toFixed(0)} s in all. The shop: test/demo/graduate/shop. The consumer: billing.ts beside it.`,
    ),
  ]
}

function promises({
  orders,
  missing,
  twice,
  invented,
  outOfOrder,
  backfilled,
  verified,
  shop,
  byKafka,
  byWebhook,
}: Result): Promised[] {
  return [
    {
      kept: missing === 0 && twice === 0 && invented === 0,
      yes: `${figure(orders)} orders were committed, and each took effect exactly once`,
      no: `of ${figure(orders)} orders ${figure(missing)} had no effect and ${figure(twice)} more than one; ${figure(invented)} effects of none`,
    },
    {
      kept: outOfOrder === 0,
      yes: 'those of each customer in their order, over every move',
      no: `${figure(outOfOrder)} took effect after a later one of their customer`,
    },
    {
      kept: backfilled > 0 && verified >= backfilled && byKafka > 0 && byWebhook > 0,
      yes: 'by both roads, and the topics hold what was written before there was a Kafka',
      no: `a road was not used or not compared: ${figure(byWebhook)} by webhook, ${figure(byKafka)} by Kafka; ${figure(backfilled)} backfilled, ${figure(verified)} compared`,
    },
    {
      kept: shop.unchanged && shop.restarts === 0,
      yes: `the shop is the same, byte by byte (SHA-256 ${shop.sha256.slice(0, 12)}…), and was never restarted`,
      no: `the shop was changed or restarted (${shop.restarts} times)`,
    },
  ]
}

/** How things stand, in one line. */
export function wordNow({ sales, intake }: Pick<Stage, 'sales' | 'intake'>): string {
  return (
    `${figure(sales.committed)} orders, ${figure(sales.rolledBack)} rolled back; billed ${figure(intake.webhook)} by webhook, ` +
    `${figure(intake.kafka)} by Kafka; ${figure(intake.both)} came by both`
  )
}

export function figure(number: number): string {
  return number.toLocaleString('en-GB')
}
