import { PostriderError } from '@postrider/schema'
import type { Sealer } from '@postrider/webhook'
import { InvalidArgumentError, Option, type Command } from 'commander'
import { collect } from '../options.ts'
import type { Verification } from './verify.ts'

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

export interface HeaderFlags {
  readonly header?: readonly (readonly [name: string, value: string])[]
}

/** `--header`. */
export function withHeaders(command: Command): Command {
  return command.option(
    '-H, --header <name=value>',
    'sent with every request, sealed where there is a secretKey; may be given several times',
    collect(header),
  )
}

/** Headers as they are stored. */
export function storedHeaders({ header: given = [] }: HeaderFlags, place: string, sealer: Sealer | null): Record<string, string> {
  return Object.fromEntries(given.map(([name, value]) => [name, sealer?.seal(value, place) ?? value]))
}

export interface VerificationFlags {
  readonly verification?: Verification
}

/** `--verification`. */
export function withVerification(command: Command): Command {
  return command.addOption(
    new Option(
      '--verification <how>',
      'ping: a signed request has to succeed first; cloudevents: it has to consent by the handshake of CloudEvents; none: for services of your own',
    ).choices(['ping', 'cloudevents', 'none'] satisfies Verification[]),
  )
}

export const formats: readonly string[] = ['standard', 'cloudevents', 'cloudevents-binary', 'raw']

/** `order.*,user.**`. */
export function types(text: string): string[] {
  return text.split(',').map((filter) => filter.trim())
}

/** Where an endpoint goes on: `all`, `skip`, or an ISO 8601 time with its zone. */
export function startingPoint(text: string): string {
  if (text === 'all' || text === 'skip') return text
  if (/^\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)$/.test(text) && !Number.isNaN(Date.parse(text)))
    return text
  throw new InvalidArgumentError('Expected all, skip, or an ISO 8601 time with its zone, such as 2026-01-31T08:30:00Z.')
}

/** `90s`, `30m`, `24h`, `7d`, or `0`, in milliseconds; 30 days at most. */
export function overlap(text: string): number {
  const [, number = '', unit = ''] = /^(\d{1,6})(s|m|h|d)?$/.exec(text) ?? []
  const ms = Number(number) * ({ s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }[unit] ?? 0)
  if (number === '' || (unit === '' && number !== '0') || ms > 30 * 86_400_000) {
    throw new InvalidArgumentError('Expected a time such as 24h or 7d, at most 30d; or 0 for at once.')
  }
  return ms
}

function header(text: string): readonly [string, string] {
  const [, name, value] = /^([^=]+)=(.+)$/s.exec(text) ?? []
  if (name !== undefined && value !== undefined) return [name, value]
  // Not as an error of the argument: Commander would repeat what was given, which may be a credential.
  const problem = '--header: expected name=value'
  throw new PostriderError('invalid_options', problem, { problems: [problem] })
}

function reference(text: string): string {
  if (/^(?:env:[A-Za-z_][A-Za-z0-9_]*|file:\/.+)$/.test(text)) return text
  // Not as an error of the argument: Commander would repeat what was given, which looks like a secret.
  const problem = '--secret: expected env:NAME or file:/path; a secret itself goes into a file: --secret-file'
  throw new PostriderError('invalid_options', problem, { problems: [problem] })
}
