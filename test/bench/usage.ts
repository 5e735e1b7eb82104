import { setTimeout as sleep } from 'node:timers/promises'
import type { Carrier } from './carrier.ts'
import { clockMs } from './clock.ts'
import { relayName } from './drain-log.ts'
import type { Figures } from './rounds.ts'
import { backendsCpuMs } from './server-cpu.ts'
import type { BenchDatabase, BenchServer } from './server.ts'

/** What has been used so far, in ms of a core; null where it is not told. */
interface Used {
  readonly at: number
  readonly relay: number
  readonly backends: number | null
  readonly server: number | null
}

/** Looks `parts` times, evenly over so many seconds, at what relay and server use; answers the share of a core in each part. */
export async function watchUsage(
  server: BenchServer,
  database: BenchDatabase,
  carrier: Carrier,
  seconds: number,
  parts: number,
): Promise<Figures[]> {
  const look = async (): Promise<Used> => ({
    at: clockMs(),
    relay: (await carrier.report()).cpuMs,
    backends: await backendsCpuMs(database.client, `postrider ${relayName}%`),
    server: await server.cpuMs(),
  })
  const looks = [await look()]
  const begun = clockMs()
  for (let part = 1; part <= parts; part++) {
    await sleep(Math.max(0, begun + (1_000 * seconds * part) / parts - clockMs()))
    looks.push(await look())
  }
  return looks.slice(1).map((now, index) => {
    const before = looks[index]!
    const share = (used: number | null, usedBefore: number | null): number | null =>
      used === null || usedBefore === null ? null : (100 * (used - usedBefore)) / (now.at - before.at)
    return {
      'relay % CPU': share(now.relay, before.relay),
      'its backends % CPU': share(now.backends, before.backends),
      'server % CPU': share(now.server, before.server),
    }
  })
}
