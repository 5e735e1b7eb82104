export type { TlsFiles } from './connect.ts'
export { createWebhookEndpoints, sealerOf, type WebhookEndpointsOptions } from './endpoints.ts'
export { encode, type Encoded, type WebhookFormat } from './encode.ts'
export type { WebhookOptions, WebhookSecrets, WebhookTimeouts } from './options.ts'
export { createSealer, generateSealKey, isSealed, type SealKeys, type Sealer } from './seal.ts'
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
