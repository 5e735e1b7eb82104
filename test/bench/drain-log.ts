import type { RelayOptions } from '@postrider/relay'
import { untilSettled, type Carrier, type CarrierReport, type Destination, type Start } from './carrier.ts'
import type { Figures } from './rounds.ts'
import type { BenchServer } from './server.ts'

export interface Draining {
  /** Sinks of every relay. */
  readonly sinks: Start['sinks']
  readonly relay?: Omit<RelayOptions, 'sinks' | 'connectionString'>
  /** In the log. */
  readonly events: number
}

/** What a relay of a benchmark is called, so that its connections can be told from others in the server. */
export const relayName = 'bench'

export function nameOf(to: Destination): string {
  if ('taking' in to) return to.taking
  return 'webhook' in to ? to.webhook.name : to.kafka.name
}

/**
 * Lets a relay carry a whole log to each of the sinks, and measures it from the first delivery to the last settle; what the server
 * spends also counts the claims before. The relay has stopped when it answers.
 */
export async function drainLog(
  server: BenchServer,
  url: string,
  carrier: Carrier,
  { sinks, relay, events }: Draining,
): Promise<Figures> {
  const [walBefore, cpuBefore] = [await server.walBytes(), await server.cpuMs()]
  await carrier.start({ relay: { name: relayName, ...relay, connectionString: url }, sinks, receiptsTo: 0 })
  let reports: CarrierReport[]
  let wal: number
  let cpu: number | null
  try {
    const names = sinks.map(({ to }) => nameOf(to))
    reports = await untilSettled([carrier], names, events)
    // While its backends still live.
    ;[wal, cpu] = [(await server.walBytes()) - walBefore, await server.cpuMs()]
  } finally {
    await carrier.stop()
  }
  const deliveries = events * sinks.length
  return {
    ...paceOf(reports, deliveries),
    'server µs CPU': cpu === null || cpuBefore === null ? null : (1_000 * (cpu - cpuBefore)) / deliveries,
    'WAL bytes': wal / deliveries,
  }
}

/** How fast relays have been together, and what one delivery took of their CPU, from the first delivery to the last settle. */
export function paceOf(reports: readonly CarrierReport[], deliveries: number): Figures {
  const began = Math.min(...reports.map(({ firstAt }) => firstAt))
  const ended = Math.max(...reports.map(({ lastSettledAt }) => lastSettledAt))
  const cpuMs = reports.reduce((sum, one) => sum + (one.lastSettledAt > 0 ? one.cpuMsAtLast - one.cpuMsAtFirst : 0), 0)
  const settles = reports.reduce((sum, one) => sum + one.settles, 0)
  return {
    'deliveries/s': (1_000 * deliveries) / (ended - began),
    'relay µs CPU': (1_000 * cpuMs) / deliveries,
    'events/settle': deliveries / settles,
  }
}
