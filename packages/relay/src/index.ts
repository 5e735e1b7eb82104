export { subscribe, type Messages } from './channels.ts'
export { retryPolicies, type RelayOptions, type RetryPolicy, type SinkOptions } from './options.ts'
export { createRelay, type Relay, type RelayHealth } from './relay.ts'
export type { Attempt, AttemptDetail, DeliveryError, Outcome, Sink } from './sink.ts'
