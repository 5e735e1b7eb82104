export {
  isPostriderError,
  PostriderError,
  type ErrorCode,
  type ErrorDetails,
  type KyselyTransaction,
  type QueryTransaction,
  type RawQuery,
  type TransactionHandle,
} from '@postrider/schema'
export {
  event,
  type Catalogue,
  type InputOf,
  type OutputOf,
  type StandardIssue,
  type StandardResult,
  type StandardSchema,
  type TypeOf,
} from './catalogue.ts'
export type { EmitOptions } from './check.ts'
export type { EventHeaders } from './headers.ts'
export type { KeyOf, WriterOptions } from './options.ts'
export { createWriter, type EventOf, type Writer } from './write.ts'
