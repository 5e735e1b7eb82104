import { readFileSync } from 'node:fs'
import { PostriderError } from '@postrider/schema'
import { generateSecret, type Sealer } from '@postrider/webhook'
import type { SecretFlags } from './options.ts'

/** A secret as it will be stored, and as it is shown once, if it is new. */
export interface NewSecret {
  readonly stored: string
  readonly shown: string | null
}

/** @throws PostriderError `invalid_options` when it has to be sealed and there is no key. */
export function newSecret({ secret, secretFile }: SecretFlags, place: string, sink: string, sealer: Sealer | null): NewSecret {
  if (secret !== undefined && secretFile !== undefined) {
    throw refuse('--secret and --secret-file are both there; leave one of them out')
  }
  if (secret !== undefined) return { stored: secret, shown: null }
  if (sealer === null)
    throw refuse(`sinks.${sink}.endpoints.secretKey: is missing, so no secret can be sealed; set it, or give --secret env:NAME`)
  if (secretFile !== undefined) return { stored: sealer.seal(readSecret(secretFile), place), shown: null }
  const shown = generateSecret()
  return { stored: sealer.seal(shown, place), shown }
}

function readSecret(file: string): string {
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8').trim()
  } catch (error) {
    throw refuse(
      `--secret-file: ${file} cannot be read (${error instanceof Error && 'code' in error ? String(error.code) : 'unknown error'})`,
    )
  }
}

function refuse(problem: string): PostriderError {
  return new PostriderError('invalid_options', problem, { problems: [problem] })
}
