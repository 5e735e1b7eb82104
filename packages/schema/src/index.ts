export { errorCodes, isPostriderError, PostriderError, type ErrorCode, type ErrorDetails } from './errors.ts'
export { headerNamePattern, limits, typeFilterPattern, typePattern, type LogEvent } from './event.ts'
export { deliveryStates, lifecycle, type DeliveryState } from './lifecycle.ts'
export {
  requireTransaction,
  run,
  type KyselyTransaction,
  type QueryTransaction,
  type RawQuery,
  type TransactionHandle,
} from './transaction.ts'
