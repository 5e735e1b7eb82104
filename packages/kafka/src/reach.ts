import type { Reach } from '@postrider/relay'
import { isPostriderError } from '@postrider/schema'
import { openKafkaAdmin } from './admin.ts'
import { certificateEnd } from './certificate.ts'
import type { KafkaSettings } from './check-options.ts'
import type { KafkaConnectionOptions } from './options.ts'

/** Asks a cluster for its brokers, over a connection that is opened and closed for this. Nothing is written. */
export async function reach(
  { brokers, client, clientId, tls, sasl, timeouts }: KafkaConnectionOptions,
  { connection, timeouts: { connectMs }, driver }: KafkaSettings,
  signal: AbortSignal,
): Promise<Reach> {
  try {
    await using admin = await openKafkaAdmin({
      brokers,
      ...(client !== undefined && { client }),
      ...(clientId !== undefined && { clientId }),
      ...(tls !== undefined && { tls }),
      ...(sasl !== undefined && { sasl }),
      ...(timeouts !== undefined && { timeouts }),
    })
    await admin.describeCluster(signal)
  } catch (error) {
    if (!isPostriderError(error)) throw error
    return { reached: false, error: { code: error.code, message: error.message } }
  }
  const secured = connection.tls
  if (secured === null) return { reached: true, certificateEnds: null }
  const ends = await Promise.all(driver.brokers.map((broker) => certificateEnd(broker, secured, connectMs)))
  const known = ends.filter((end) => end !== null)
  return { reached: true, certificateEnds: known.length === 0 ? null : new Date(Math.min(...known)) }
}
