import { createHash } from 'node:crypto'
import type { Messages } from '@postrider/relay'
import type { Level } from 'pino'

export type AttemptMessage = Messages['postrider:attempt']

export interface Line {
  readonly level: Level
  readonly fields: Readonly<Record<string, unknown>>
  readonly sentence: string
}

/** One attempt as one line. */
export function lineOf(attempt: AttemptMessage, nowMs: number): Line {
  const { verdict, key, nextAttemptInMs } = attempt
  const fields = {
    component: 'delivery',
    relay: attempt.relay,
    event_id: attempt.eventId,
    event_type: attempt.type,
    seq: attempt.position,
    ...(key !== null && { key_hash: hashKey(key) }),
    sink: attempt.sink,
    kind: attempt.kind,
    attempt: attempt.attempt,
    outcome: attempt.outcome,
    ...(attempt.errorCode !== null && { error_code: attempt.errorCode, error: attempt.error }),
    ...(attempt.status !== null && { status: attempt.status }),
    duration_ms: Math.round(attempt.durationMs),
    queue_ms: Math.round(attempt.queueMs),
    ...(nextAttemptInMs !== null && { next_attempt_at: new Date(nowMs + nextAttemptInMs).toISOString() }),
  }
  switch (verdict) {
    case 'delivered':
      return { level: 'debug', fields, sentence: 'delivered' }
    case 'retry':
      return {
        level: 'info',
        fields,
        sentence: attempt.outcome === 'throttled' ? 'the destination asks for a pause' : 'failed, will be tried again',
      }
    case 'spared':
      return { level: 'info', fields, sentence: 'failed with its destination; it is not charged and stays where it was' }
    case 'expired':
      return { level: 'info', fields, sentence: 'its time was over' }
    case 'dead':
      return { level: 'warn', fields, sentence: 'dead, will not be tried again by itself' }
  }
}

/** Tells keys apart without showing them: they may be names of people. */
function hashKey(key: string): string {
  return createHash('sha256').update(key).digest('hex').slice(0, 12)
}
