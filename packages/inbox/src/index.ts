export { isPostriderError, PostriderError, type ErrorCode, type ErrorDetails, type TransactionHandle } from '@postrider/schema'
export type { EachBatchPayloadLike, EachMessagePayloadLike, KafkaConsumer, KafkaMessageLike } from './consume-kafka.ts'
export { createConsumer, type Consumer } from './consumer.ts'
export type { ReceivedEvent, RecordPlace, ReplayMark } from './event.ts'
export { eventFromRecord, type KafkaRecord, type RecordHeaders } from './from-record.ts'
export { eventFromRequest } from './from-request.ts'
export type { Effect } from './handle.ts'
export type { HeaderSource, ReceivedHeaders } from './headers.ts'
export { once } from './once.ts'
export type { ConsumerOptions, Failure, FailureVerdict } from './options.ts'
export { prune, type PruneOptions } from './prune.ts'
export type { QueryHandle } from './query.ts'
export type { ExpressHandler, FastifyPlugin, FastifyScope, HonoHandler, NodeListener } from './serve.ts'
export { createInbox, inboxTable, type InboxTableOptions } from './table.ts'
export type { ConsumerDatabase, KyselyLike, OtherDatabase, PoolClientLike, PoolLike, TransactionOf } from './transact.ts'
export {
  createVerifier,
  verify,
  type SignedRequest,
  type Verified,
  type Verifier,
  type VerifyFailure,
  type VerifyOptions,
  type VerifyResult,
} from './verify.ts'
