export { subscribe, type Messages } from './channels.ts'
export {
  retryPolicies,
  standardCircuit,
  type CircuitPolicy,
  type RelayOptions,
  type RetryPolicy,
  type SinkOptions,
} from './options.ts'
export { createRelay, type Relay, type RelayHealth } from './relay.ts'
export type {
  Answer,
  Appended,
  Attempt,
  AttemptDetail,
  DeliveryError,
  Endpoint,
  Outcome,
  Reach,
  Replay,
  Sink,
  SinkFamily,
} from './sink.ts'
