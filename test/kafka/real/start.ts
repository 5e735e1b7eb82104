import type { KafkaOptions } from './options.ts'
import { openRelease } from './release.ts'
import { runCluster, type Kafka } from './run.ts'

/**
 * Starts a real Apache Kafka on 127.0.0.1, without Docker: brokers that are their own controllers, on free ports, with data in
 * the temp directory. They end with this process, even after `kill -9`, and leave no file.
 * Needs Java 17 or later; the first start on a machine fetches the jars from Maven Central.
 */
export async function startKafka(options: KafkaOptions = {}): Promise<Kafka> {
  return runCluster(await openRelease(), options)
}
