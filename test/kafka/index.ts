/**
 * Kafka for tests. Tests of a package import this as `@postrider/test/kafka`, never by a relative path:
 * `turbo boundaries` lets no path leave its package.
 */
export type { KafkaBroker } from './real/broker.ts'
export type { KafkaOptions, KafkaUser } from './real/options.ts'
export type { Kafka } from './real/run.ts'
export { startKafka } from './real/start.ts'
export { ownKafka, sharedKafka, testTopic, type SharedKafka, type TestTopic, type TestTopicOptions } from './shared.ts'
export { startFakeKafka, type FakeKafka, type FakeKafkaOptions } from './fake/broker.ts'
export type { StoredRecord } from './fake/batch.ts'
export { seeded, type Fault, type Faults, type Rule as FaultRule, type Spot as FaultSpot } from './fake/faults.ts'
