/** What the side that signs and the side that verifies must agree about. Apart from the words, because it needs node:crypto. */
export { generateSecret, publicKeyOf, readSigningSecret, readVerifyingSecret, type SigningKey } from './secret.ts'
export { isSignedWith, messageIdPattern, signWithKey, type SignedContent } from './signature.ts'
