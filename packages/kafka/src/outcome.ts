import type { Outcome } from '@postrider/relay'
import { errorCodeOf } from './classify.ts'
import type { AppendFailure } from './driver.ts'

/** How a failure is answered to the relay: what the cluster or a partition fails at is never the fault of an event. */
export function outcomeOf(failure: AppendFailure, where: { topic: string; partition?: number }, afterMs: number): Outcome {
  const error = { code: errorCodeOf(failure), message: failure.message }
  const detail = { ...where, kafka: failure.code, written: failure.written }
  if (failure.scope === 'record') return { kind: 'reject', error, detail }
  if (failure.code === 'ABORTED') return interrupted
  if (failure.scope === 'cluster') return { kind: 'retry', error, detail, scope: 'destination', free: true }
  return { kind: 'retry', error, detail, scope: 'event', free: true, afterMs }
}

export const interrupted: Outcome = {
  kind: 'retry',
  error: { code: 'interrupted', message: 'the relay stopped before the answer' },
  scope: 'event',
  free: true,
}

export const behind: Outcome = { kind: 'behind' }
