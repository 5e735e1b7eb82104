import { readSigningSecret, signWithKey, type SignedContent, type SigningKey } from '@postrider/schema/signature'

/** A former key that signs until its time. */
export interface OldKey {
  readonly key: SigningKey
  readonly untilMs: number
}

/** The value of the header `webhook-signature`. */
export type Signer = (content: SignedContent) => string

/** Signs with the current keys, then with the former ones whose time has not come; HMAC before ed25519. */
export function createSigner(current: readonly SigningKey[], previous: readonly OldKey[] = []): Signer {
  const rank = (key: SigningKey): number => (key.version === 'v1' ? 0 : 1)
  const keys = [...current.map((key) => ({ key, untilMs: Infinity })), ...previous].sort((a, b) => rank(a.key) - rank(b.key))
  return (content) => {
    const nowMs = content.timestamp * 1000
    const signatures: string[] = []
    for (const { key, untilMs } of keys) if (nowMs < untilMs) signatures.push(signWithKey(key, content))
    return signatures.join(' ')
  }
}

/** Signs once, with secrets as text. For many messages prepare a signer with {@link createSigner}. */
export function sign(content: SignedContent, secrets: readonly string[]): string {
  return createSigner(secrets.map(readSigningSecret))(content)
}
