export type { TlsFiles } from './connect.ts'
export type { WebhookFormat } from './encode.ts'
export type { WebhookOptions, WebhookSecrets, WebhookTimeouts } from './options.ts'
export { generateSecret, publicKeyOf } from './secret.ts'
export { sign, type SignedContent } from './sign.ts'
export {
  createVerifier,
  verify,
  type HeaderSource,
  type VerifyFailure,
  type VerifyOptions,
  type VerifyRequest,
  type VerifyResult,
} from './verify.ts'
export { createWebhookSink } from './webhook.ts'
