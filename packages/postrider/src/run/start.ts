import { createRelay } from '@postrider/relay'
import type { Logger } from 'pino'
import type { Settings } from '../config.ts'
import { loadConfig, type ConfigFlags } from '../config/load.ts'
import { exitCodeOf, exitCodes } from '../exit.ts'
import { serveHealth } from '../health.ts'
import { createLog } from '../log.ts'
import { followRelays } from '../log/follow.ts'
import { ownPlaces } from '../own-places.ts'
import { createSinks } from '../sinks.ts'
import { listenForStop } from '../stop.ts'

/** After a second signal the program is gone within this time, whatever still hangs. */
const forceMs = 8_000
/** When all is done: how long something that still holds the process may take to end. */
const lingerMs = 2_000

export async function start(flags: ConfigFlags): Promise<void> {
  const { settings, secrets, file } = await loadConfig(flags)
  const log = createLog({ settings, secrets })
  exitOnFaults(log)
  log.info({ component: 'program', config: file, sinks: Object.keys(settings.sinks), node: process.version }, 'starting')
  const following = followRelays(log)
  try {
    process.exitCode = await carry(settings, log)
  } catch (error) {
    log.fatal({ err: error }, error instanceof Error ? error.message : String(error))
    process.exitCode = exitCodeOf(error)
  } finally {
    following[Symbol.dispose]()
  }
  setTimeout(() => process.exit(), lingerMs).unref()
}

async function carry(settings: Settings, log: Logger): Promise<number> {
  const { database, schema, relay: timings, sinks, health } = settings
  const relay = createRelay({
    ...timings,
    connectionString: database.url,
    directConnectionString: database.directUrl,
    connections: database.connections,
    schema,
    sinks: await createSinks(sinks, (sink, message) => log.warn({ component: 'sink', sink }, message), ownPlaces(settings)),
  })
  using stop = listenForStop((signal, forced) => {
    const how = forced ? 'stopping at once' : `stopping; attempts in flight have ${timings.drainMs} ms to end`
    log.info({ component: 'program', signal }, how)
    if (forced) setTimeout(() => process.exit(exitCodes.forced), forceMs).unref()
  })
  await using probes = health === false ? null : await serveHealth(health, () => relay.health())
  if (probes !== null) log.info({ component: 'health', host: probes.host, port: probes.port }, 'probes answer')
  await relay.run(stop.gracefully, stop.atOnce)
  return stop.atOnce.aborted ? exitCodes.forced : exitCodes.ok
}

/** A fault that nobody caught leaves the process in an unknown state: say what, and go. The leases run out by themselves. */
function exitOnFaults(log: Logger): void {
  const exit = (error: unknown): void => {
    log.fatal({ err: error }, 'a fault that nobody caught')
    process.exit(exitCodes.failed)
  }
  process.on('uncaughtException', exit)
  process.on('unhandledRejection', exit)
}
