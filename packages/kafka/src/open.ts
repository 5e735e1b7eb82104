import { checkDriverOptions, type ClientSettings } from './check-options.ts'
import { createDriver } from './create-driver.ts'
import type { Driver } from './driver.ts'
import type { KafkaDriverOptions } from './options.ts'
import type { Wire } from './wire.ts'

/** Only the client that is asked for is loaded. Throws `client_missing`. */
export async function openWire({ client, connection }: ClientSettings): Promise<Wire> {
  if (client === 'kafkajs') return (await import('./kafkajs.ts')).openKafkajs(connection)
  return await (await import('./platformatic.ts')).openPlatformatic(connection)
}

/**
 * A driver of its own, for reading and for tools. It connects when it is first used; dispose of it.
 * Throws `invalid_options` or `client_missing`.
 */
export async function openKafkaDriver(options: KafkaDriverOptions): Promise<Driver> {
  const settings = checkDriverOptions(options)
  return createDriver(await openWire(settings), settings.driver)
}
