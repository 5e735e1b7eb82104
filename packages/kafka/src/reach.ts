import type { Reach } from '@postrider/relay'
import { isPostriderError } from '@postrider/schema'
import { openKafkaAdmin, type ClusterDescription } from './admin.ts'
import { certificateEnd } from './certificate.ts'
import { connectionOf, type KafkaSettings } from './check-options.ts'
import type { KafkaConnectionOptions } from './options.ts'

/** Asks a cluster for its brokers, and each of them at the address that it advertises, which is where events go. Nothing is written. */
export async function reach(
  options: KafkaConnectionOptions,
  { connection, timeouts: { connectMs } }: KafkaSettings,
  signal: AbortSignal,
): Promise<Reach> {
  let found: ClusterDescription['brokers']
  try {
    await using admin = await openKafkaAdmin(connectionOf(options))
    ;({ brokers: found } = await admin.describeCluster(signal))
  } catch (error) {
    if (!isPostriderError(error)) throw error
    return { reached: false, error: { code: error.code, message: error.message } }
  }
  const silent = found.find(({ versions }) => versions === null)
  if (silent !== undefined) {
    const message = `broker ${silent.id} does not answer at its advertised address`
    return { reached: false, error: { code: 'connect', message } }
  }
  const secured = connection.tls
  if (secured === null) return { reached: true, certificateEnds: null }
  const ends = await Promise.all(found.map((broker) => certificateEnd(broker, secured, connectMs)))
  const known = ends.filter((end) => end !== null)
  return { reached: true, certificateEnds: known.length === 0 ? null : new Date(Math.min(...known)) }
}
