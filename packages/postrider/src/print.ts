import { styleText } from 'node:util'
import { isPostriderError } from '@postrider/schema'
import { CommanderError } from 'commander'
import { Interrupted } from './exit.ts'

/** Data: one or more lines on stdout. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

/** Data for programs: one JSON document on a line of its own. */
export function printJson(value: unknown): void {
  print(JSON.stringify(value))
}

let quiet = false

/** `--quiet`: only data and errors from now on. */
export function beQuiet(): void {
  quiet = true
}

/** A message to the person at the terminal, on stderr. */
export function say(text: string): void {
  if (!quiet) process.stderr.write(`${text}\n`)
}

/** Text of strangers for a terminal: a control character becomes its escape, so that it cannot steer the terminal. */
export function plain(text: string): string {
  return text.replace(
    /[\u0000-\u001f\u007f-\u009f]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

type Style = Parameters<typeof styleText>[0]

/** Colour on a terminal only; NO_COLOR and `--no-color` turn it off. */
export function style(format: Style, text: string, stream: NodeJS.WriteStream = process.stdout): string {
  return styleText(format, text, { stream })
}

/** What went wrong, why, and what to do next. */
export function sayError(error: unknown): void {
  if (error instanceof CommanderError) return // It has spoken for itself.
  process.stderr.write(`${style('red', 'error:', process.stderr)} ${wordError(error)}\n`)
}

function wordError(error: unknown): string {
  if (error instanceof Interrupted) return 'interrupted; nothing was changed'
  if (!(error instanceof Error)) return String(error)
  if (!isPostriderError(error)) return error.message
  return `${error.message}\nnext:  ${error.next}`
}
