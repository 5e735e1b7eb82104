import { pino, stdTimeFunctions, type Logger } from 'pino'
import type { Settings } from './config.ts'
import { createScrubber, secretsOf } from './log/scrub.ts'
import { version } from './version.ts'

export interface LogOptions {
  readonly settings: Pick<Settings, 'database' | 'sinks' | 'log' | 'relay'>
  /** Further texts that must not appear. */
  readonly secrets?: readonly string[]
  /** Takes finished lines. Default: stdout, written at once, so that the last line before a crash is there. */
  readonly destination?: { write(line: string): void }
}

/** Fields that never get into a line, should anybody hand them over. */
const never = [
  'payload',
  'body',
  'headers',
  'secret',
  'secrets',
  'password',
  'authorization',
  'cookie',
  'signature',
  'url',
  'key',
  'connectionString',
]

/** The program's log: JSON, one line for one thing that happened, fields first and a sentence second. */
export function createLog({
  settings,
  secrets = [],
  destination = pino.destination({ dest: 1, sync: true }),
}: LogOptions): Logger {
  const scrub = createScrubber([...secrets, ...secretsOf(settings)])
  return pino(
    {
      level: settings.log.level,
      base: { service: 'postrider', version, instance: settings.relay.name },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: never.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), censor: '[redacted]' },
    },
    { write: (line) => destination.write(scrub(line)) },
  )
}
