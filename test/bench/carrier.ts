import { setTimeout as sleep } from 'node:timers/promises'
import { startChild, type Child } from './calls.ts'
import type { CarrierReport, CarrierVerbs, Start } from './carrier-child.ts'

export type { CarrierReport, Destination, Start } from './carrier-child.ts'

/** A relay in a process of its own: started and stopped any number of times, so that it may be warm. */
export interface Carrier extends AsyncDisposable {
  start(given: Start): Promise<void>
  /** @throws when the relay reported a fault: then no figure means anything */
  report(): Promise<CarrierReport>
  receipts(sink: string, from: number, to: number): Promise<Float64Array>
  /** Gracefully. */
  stop(): Promise<void>
}

export async function startCarrier(): Promise<Carrier> {
  const child: Child<CarrierVerbs> = await startChild<CarrierVerbs>(new URL('carrier-child.ts', import.meta.url))
  return {
    start: (given) => child.call('start', given),
    async report() {
      const report = await child.call('report', null)
      if (report.faults.length > 0) throw new Error(`the relay reported faults:\n${report.faults.join('\n')}`)
      return report
    },
    receipts: (sink, from, to) => child.call('receipts', { sink, from, to }),
    stop: () => child.call('stop', null),
    [Symbol.asyncDispose]: () => child[Symbol.asyncDispose](),
  }
}

/** The least that a sink has settled, over all relays. */
export function leastSettled(reports: readonly CarrierReport[], sinks: readonly string[]): number {
  return Math.min(...sinks.map((sink) => reports.reduce((sum, { settled }) => sum + (settled[sink] ?? 0), 0)))
}

/** Waits until these relays together have settled so many events for each of the sinks. @throws when they take too long */
export async function untilSettled(
  carriers: readonly Carrier[],
  sinks: readonly string[],
  events: number,
  deadlineMs = 600_000,
): Promise<CarrierReport[]> {
  for (const end = performance.now() + deadlineMs; ;) {
    const reports = await Promise.all(carriers.map((carrier) => carrier.report()))
    const least = leastSettled(reports, sinks)
    if (least >= events) return reports
    if (performance.now() > end) throw new Error(`only ${least} of ${events} events were settled within ${deadlineMs} ms`)
    await sleep(20)
  }
}
