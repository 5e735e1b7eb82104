/** Where the way to the destination ended, before any request was sent. */
export type Stage = 'blocked' | 'dns' | 'connect' | 'tls'

/** No connection. The message carries a code, never an address: tenants may read it. */
export class Unreachable extends Error {
  override readonly name = 'Unreachable'
  readonly stage: Stage

  constructor(stage: Stage, message: string, options?: ErrorOptions) {
    super(message, options)
    this.stage = stage
  }
}
