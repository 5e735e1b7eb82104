import { readFileSync } from 'node:fs'
import { PostriderError } from '@postrider/schema'
import { generateSecret, type Sealer } from '@postrider/webhook'
import type { Command } from 'commander'

export interface SecretFlags {
  readonly secret?: string
  readonly secretFile?: string
}

/** `--secret` and `--secret-file`. A secret itself is never an argument: those can be seen in the list of processes. */
export function withSecret(command: Command): Command {
  return command
    .option(
      '--secret <reference>',
      'where the relay finds it: env:NAME or file:/path (default: a new one, printed once)',
      reference,
    )
    .option('--secret-file <file>', 'file with the secret, to be sealed; - reads it from stdin')
}

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

function reference(text: string): string {
  if (/^(?:env:[A-Za-z_][A-Za-z0-9_]*|file:\/.+)$/.test(text)) return text
  // Not as an error of the argument: Commander would repeat what was given, which looks like a secret.
  throw refuse('--secret: expected env:NAME or file:/path; a secret itself goes into a file: --secret-file')
}

function refuse(problem: string): PostriderError {
  return new PostriderError('invalid_options', problem, { problems: [problem] })
}
