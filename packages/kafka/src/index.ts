export {
  openKafkaAdmin,
  type ClusterDescription,
  type GroupState,
  type KafkaAdmin,
  type NewTopic,
  type TopicDescription,
} from './admin.ts'
export { DriverError } from './classify.ts'
export type { KafkaSasl, KafkaTls } from './connection.ts'
export type { AppendFailure, AppendResult, Bounds, Driver, ReadRecord } from './driver.ts'
export { encode, idHeader, type KafkaProfile } from './encode.ts'
export { murmur2 } from './murmur2.ts'
export { openKafkaDriver } from './open.ts'
export type { KafkaBatchLimits, KafkaConnectionOptions, KafkaDriverOptions, KafkaOptions, KafkaTimeouts } from './options.ts'
export { partitionOf } from './partition.ts'
export { preflight, type PreflightCheck, type PreflightFacts } from './preflight.ts'
export type { PartitionBatch, StreamRecord } from './records.ts'
export { simulate, type Share, type Simulation } from './simulate.ts'
export { createKafkaSink, type KafkaSink } from './sink.ts'
export { compileTemplate, isTopicName, templateProblem, type TopicOf } from './topic-template.ts'
export type { Broker, Committed, Compression, Versions } from './wire.ts'
